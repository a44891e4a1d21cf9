"""The names, and what they are read from.

Nothing is kept in the library's own counters: the newest smiles and statistics are remembered as they are and turned
into series when the page is asked for. So an observation costs next to nothing, a series leaves with its expiry, and
no state is global. Names are in base units; no label holds an instrument.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric

from kvd import __version__
from kvd.metrics.families import Histogram
from kvd.metrics.families import counter as _counter
from kvd.metrics.families import gauge as _gauge
from kvd.metrics.families import keyed as _keyed
from kvd.metrics.families import one as _one
from kvd.metrics.feeds import FEED_SERIES
from kvd.metrics.life import Life, LifeStatistics
from kvd.metrics.load import Load
from kvd.metrics.recorder import recorder_series
from kvd.metrics.restart import RestartStatistics, of_restart
from kvd.metrics.statistics import (
    AuditStatistics,
    FeedStatistics,
    HandStatistics,
    InboxStatistics,
    PublisherStatistics,
    RecorderStatistics,
)
from kvd.surface import BatchFacts, Smile, State, SurfaceUpdate, TrackRecord

FAMILY = ("venue", "underlying")
EXPIRY = ("venue", "underlying", "expiry")
TENOR = (*FAMILY, "tenor")
TOKEN = ("token",)  # the name of its holder: as many as are configured
TENORS = ("0-1d", "1-7d", "7-30d", "30-90d", "90d+")  # of the tenor buckets of BatchFacts
BANDS = ("50", "90", "95")
BATCH_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


def _nis_per_dof(smile: Smile) -> float | None:
    return smile.nis / smile.nis_dof if smile.nis is not None and smile.nis_dof else None


def _record(read: Callable[[TrackRecord], float]) -> Callable[[Smile], float | None]:
    return lambda smile: None if smile.record is None else read(smile.record)


SMILE_GAUGES: tuple[tuple[str, str, Callable[[Smile], float | None]], ...] = (
    ("kvd_smile_atm_vol_ratio", "At-the-money implied vol, a decimal.", lambda s: s.parameters.atm_vol),
    ("kvd_smile_atm_vol_sd_ratio", "Its standard deviation.", lambda s: s.sd.atm_vol),
    ("kvd_smile_skew", "ATM skew, the K value.", lambda s: s.parameters.skew),
    ("kvd_smile_skew_sd", "Its standard deviation.", lambda s: s.sd.skew),
    ("kvd_smile_forward", "Forward, in the quote currency.", lambda s: s.forward.value),
    ("kvd_smile_nis_per_dof_ratio", "NIS of the newest batch per degree of freedom: 1 on average.", _nis_per_dof),
    ("kvd_smile_inside_ratio", "Share of the newest quotes whose bid and ask enclose the smile.", lambda s: s.inside),
    ("kvd_smile_butterfly_margin", "Least Durrleman g: negative is arbitrage.", lambda s: s.certificate.butterfly),
    (
        "kvd_smile_calendar_margin",
        "Least calendar gap over w0: negative is arbitrage.",
        lambda s: s.certificate.calendar,
    ),
    ("kvd_smile_record_nis_ratio", "NIS per degree of freedom lately, outliers cut off.", _record(lambda r: r.nis)),
    (
        "kvd_smile_record_coverage_ratio",
        "Share of mids inside the 90 % predictive band lately.",
        _record(lambda r: r.coverage[1]),
    ),
    (
        "kvd_smile_record_common_ratio",
        "Mean square of the level innovations lately: 1 on average.",
        _record(lambda r: r.common),
    ),
    (
        "kvd_smile_record_whiteness",
        "Lag-one correlation of the level innovations lately: 0 on average.",
        _record(lambda r: r.whiteness),
    ),
    (
        "kvd_smile_widened_by_ratio",
        "Factor by which the published standard deviations are wider for it.",
        _record(lambda r: r.widened_by),
    ),
)


class Metrics:
    """What was observed, and the page that says it. `now_us` is the wall clock, for the age of smiles alone."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._smiles: dict[tuple[str, ...], Smile] = {}
        self._feeds: dict[str, FeedStatistics] = {}
        self._inbox: InboxStatistics | None = None
        self._publisher: PublisherStatistics | None = None
        self._recorders: dict[str, Callable[[], RecorderStatistics]] = {}
        self._hand: tuple[HandStatistics, AuditStatistics] | None = None
        self._restart: RestartStatistics | None = None
        self._published: Counter[tuple[str, ...]] = Counter()
        self._quotes: Counter[tuple[str, ...]] = Counter()
        self._one_sided: Counter[tuple[str, ...]] = Counter()
        self._refused: Counter[tuple[str, ...]] = Counter()
        self._inflated: Counter[tuple[str, ...]] = Counter()
        self._forwards_gated: Counter[tuple[str, ...]] = Counter()
        self._forwards_outside: Counter[tuple[str, ...]] = Counter()
        self._executable: Counter[tuple[str, ...]] = Counter()
        self._nis: dict[tuple[str, ...], float] = {}
        self._nis_dof: Counter[tuple[str, ...]] = Counter()
        self._innovations: Counter[tuple[str, ...]] = Counter()
        self._inside: Counter[tuple[str, ...]] = Counter()
        self._marks_diverged: dict[tuple[str, ...], set[str]] = {}
        self._mark_alarms: Counter[tuple[str, ...]] = Counter()
        self._load = Load()
        self._life = Life()
        self._batches = Histogram(BATCH_BUCKETS_S)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def observe_update(self, update: SurfaceUpdate, seconds: float) -> None:
        """A batch of one underlying was calibrated in `seconds`."""
        family, facts = (update.venue, update.underlying), update.facts
        for smile in update.smiles:
            self._smiles[*family, _minute(smile.expiry_us)] = smile
            self._published[*family, smile.state] += 1
        for expiry_us in update.withdrawn:
            self._smiles.pop((*family, _minute(expiry_us)), None)
        self._quotes[family] += facts.quotes
        self._one_sided[family] += facts.one_sided
        self._forwards_gated[family] += facts.forwards_gated
        self._forwards_outside[family] += facts.forwards_outside_parity
        by_reason = (
            (self._refused, facts.refused),
            (self._inflated, facts.inflated),
            (self._executable, facts.executable),
        )
        for counter, reasons in by_reason:
            for reason, count in reasons.items():
                counter[*family, reason] += count
        self._observe_innovations(family, facts)
        diverged = set(map(_minute, facts.mark_alarms))
        self._mark_alarms[family] += len(diverged - self._marks_diverged.get(family, set()))
        self._marks_diverged[family] = diverged
        self._batches.observe(seconds)
        self._load.observe_update(update, self._now_us())

    def _observe_innovations(self, family: tuple[str, str], facts: BatchFacts) -> None:
        for bucket, (nis, dof) in facts.nis_by_tenor.items():
            key = (*family, TENORS[bucket])
            self._nis[key] = self._nis.get(key, 0.0) + nis
            self._nis_dof[key] += dof
        for bucket, (quotes, *inside) in facts.coverage.items():
            key = (*family, TENORS[bucket])
            self._innovations[key] += quotes
            for band, count in zip(BANDS, inside, strict=True):
                self._inside[*key, band] += count

    def observe_feed(self, venue: str, statistics: FeedStatistics) -> None:
        """The newest statistics of a venue's feed."""
        self._feeds[venue] = statistics

    def observe_inbox(self, statistics: InboxStatistics) -> None:
        """The newest statistics of the inbox."""
        self._inbox = statistics

    def observe_publisher(self, statistics: PublisherStatistics) -> None:
        """The newest statistics of the publisher."""
        self._publisher = statistics

    def observe_hand(self, hand: HandStatistics, audit: AuditStatistics) -> None:
        """The newest statistics of locks and of the audit log."""
        self._hand = hand, audit

    def observe_restart(self, statistics: RestartStatistics) -> None:
        """The newest statistics of the start and of the checkpoint."""
        self._restart = statistics

    def observe_tasks(self, count: int) -> None:
        """How many tasks the event loop has now."""
        self._load.tasks = count

    def watch_recorder(self, venue: str, statistics: Callable[[], RecorderStatistics]) -> None:
        """What records a venue; asked anew for each page, so that a disk that fails shows at once."""
        self._recorders[venue] = statistics

    def observe_loop_lag(self, seconds: float) -> None:
        """A timer of the event loop fired this much too late."""
        self._life.lag.observe(seconds)

    def observe_turn(self, seconds: float) -> None:
        """A batch held the event loop so long at a stretch."""
        self._life.turns.observe(seconds)

    def observe_life(self, statistics: LifeStatistics) -> None:
        """The newest statistics of the process."""
        self._life.newest = statistics

    def render(self) -> bytes:
        """The page, in Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for when it renders."""
        yield _gauge("kvd_build_info", "Version of kvd.", ("version",), [((__version__,), 1.0)])
        yield from self._of_feeds()
        yield from self._of_batches()
        yield from self._of_smiles()
        if self._inbox is not None:
            yield _counter("kvd_inbox_conflated", "Events replaced within a batch.", (), _one(self._inbox.conflated))
            yield _counter("kvd_inbox_overwrites", "Events lost to overload.", (), _one(self._inbox.overwrites))
            yield _gauge("kvd_inbox_events", "Events that wait for the calibrator.", (), _one(len(self._inbox)))
        yield from self._load.collect(self._now_us())
        if self._publisher is not None:
            yield from _of_publisher(self._publisher)
        if self._hand is not None:
            yield from _of_hand(*self._hand)
        if self._restart is not None:
            yield from of_restart(self._restart, self._now_us())
        yield from recorder_series({venue: look() for venue, look in self._recorders.items()})
        yield from self._life.collect()

    def _of_feeds(self) -> Iterator[Metric]:
        for name, help_text, kind, read in FEED_SERIES:
            make = _counter if kind is CounterMetricFamily else _gauge
            yield make(name, help_text, ("venue",), [((venue,), read(feed)) for venue, feed in self._feeds.items()])
        refusals = [((venue, why), n) for venue, feed in self._feeds.items() for why, n in feed.refusals.items()]
        yield _counter("kvd_feed_refusals", "Frames or parts not used, by reason.", ("venue", "reason"), refusals)

    def _of_batches(self) -> Iterator[Metric]:
        reasons = (*FAMILY, "reason")
        yield _counter("kvd_quotes_applied", "Quotes that moved a smile.", FAMILY, self._quotes.items())
        alone = self._one_sided.items()
        yield _counter("kvd_quotes_one_sided", "Quotes without bid or ask that bounded a smile.", FAMILY, alone)
        yield _counter("kvd_quotes_refused", "Quotes not used, by reason.", reasons, self._refused.items())
        yield _counter("kvd_quotes_inflated", "Quotes given less weight, by reason.", reasons, self._inflated.items())
        outside, gated, kinds = self._forwards_outside, self._forwards_gated, (*FAMILY, "kind")
        yield _counter(
            "kvd_forwards_gated", "Sources of a forward not heeded, having jumped alone.", FAMILY, gated.items()
        )
        yield _counter("kvd_forwards_outside_parity", "Forwards that a call-put pair denies.", FAMILY, outside.items())
        arbitrage = self._executable.items()
        yield _counter("kvd_executable_arbitrage", "Arbitrage on the venue's own bids and asks.", kinds, arbitrage)
        yield _counter("kvd_nis", "Sum of normalised innovations squared.", TENOR, self._nis.items())
        yield _counter("kvd_nis_dof", "Sum of their degrees of freedom.", TENOR, self._nis_dof.items())
        yield _counter("kvd_innovations", "Mid vols that were predicted.", TENOR, self._innovations.items())
        yield _counter(
            "kvd_innovations_inside", "Those inside their predictive band.", (*TENOR, "band"), self._inside.items()
        )
        yield _counter(
            "kvd_mark_alarms", "Smiles that the venue's marks came to deny.", FAMILY, self._mark_alarms.items()
        )
        yield _counter(
            "kvd_smiles_published", "Smiles published, by state.", (*FAMILY, "state"), self._published.items()
        )
        yield self._batches.family("kvd_batch_duration_seconds", "Time to calibrate a batch of one underlying.")

    def _of_smiles(self) -> Iterator[Metric]:
        for name, help_text, read in SMILE_GAUGES:
            yield _gauge(name, help_text, EXPIRY, [(labels, read(smile)) for labels, smile in self._smiles.items()])
        now_us = self._now_us()
        ages = [(labels, (now_us - smile.receive_us) / 1e6) for labels, smile in self._smiles.items()]
        yield _gauge("kvd_smile_age_seconds", "Time since the arrival of the newest quote.", EXPIRY, ages)
        denied = [(key, float(key[2] in self._marks_diverged.get(key[:2], ()))) for key in self._smiles]
        yield _gauge("kvd_smile_mark_diverged", "Whether the venue's marks lie outside the band.", EXPIRY, denied)
        states = [
            ((*labels, state), float(smile.state == state))
            for labels, smile in self._smiles.items()
            for state in get_args(State)
        ]
        yield _gauge("kvd_smile_state", "1 for the state the smile is in.", (*EXPIRY, "state"), states)


def _of_publisher(p: PublisherStatistics) -> Iterator[Metric]:
    yield _gauge("kvd_clients", "Subscribers connected now.", (), _one(p.clients))
    yield _gauge("kvd_subscriptions", "Patterns subscribed to.", (), _one(p.subscriptions))
    yield _counter("kvd_messages_sent", "Messages written, by kind.", ("kind",), _keyed(p.sent))
    yield _counter("kvd_sent_bytes", "Bytes written to subscribers.", (), _one(p.sent_bytes))
    yield _gauge("kvd_buffered_bytes", "Bytes waiting for subscribers' sockets.", (), _one(p.buffered_bytes))
    yield _gauge("kvd_client_held_bytes", "Most that one subscriber holds of ours.", (), _one(p.held_bytes))
    yield _counter("kvd_outbox_overwrites", "Messages lost to slow subscribers.", (), _one(p.overwrites))
    yield _counter("kvd_gaps_sent", "Gaps that subscribers were told of, by reason.", ("reason",), _keyed(p.gaps))
    yield _counter("kvd_topics_resumed", "Topics taken up where a subscriber had left them.", (), _one(p.resumed))
    yield _counter("kvd_smiles_unmoved", "Smiles not sent for not having moved.", ("kind",), _keyed(p.unmoved))
    yield _gauge("kvd_ring_bytes", "What is kept for subscribers who come back.", (), _one(p.ring_bytes))
    yield _gauge("kvd_ring_seconds", "How far back that goes, in publish time.", (), _one(p.ring_s))
    yield _counter("kvd_clients_cut", "Subscribers cut, by reason.", ("reason",), _keyed(p.cut))
    yield _counter("kvd_client_errors", "Requests refused, by reason.", ("reason",), _keyed(p.errors))
    uses = p.tokens.items()
    refused = [((name, reason), count) for name, use in uses for reason, count in use.refused.items()]
    yield _gauge("kvd_token_clients", "Connections of a token now.", TOKEN, [((n,), use.clients) for n, use in uses])
    yield _counter("kvd_token_messages", "Requests with a token.", TOKEN, [((n,), use.messages) for n, use in uses])
    yield _counter("kvd_token_refusals", "Those refused, by reason.", (*TOKEN, "reason"), refused)


def _of_hand(hand: HandStatistics, audit: AuditStatistics) -> Iterator[Metric]:
    yield _gauge("kvd_locks", "Locks that stand now.", (), _one(hand.standing))
    yield _counter("kvd_lock_acts", "Locks set, released and refused, by act.", ("act",), _keyed(hand.acts))
    yield _gauge("kvd_audit_lines", "Lines of the audit log.", (), _one(audit.lines))
    yield _gauge("kvd_audit_failing", "Whether the audit log cannot be written now.", (), _one(audit.failing))
    yield _counter("kvd_audit_failures", "Failed attempts to write to it.", (), _one(audit.failures))
    yield _counter("kvd_audit_lost", "Lines given up because too many waited.", (), _one(audit.lost))


def _minute(expiry_us: int) -> str:
    return datetime.fromtimestamp(expiry_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%MZ")
