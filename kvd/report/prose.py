"""What the page says in words, in the order of a model-validation report: purpose, data, method, results, limits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kvd.report.chronicle import Chronicle
from kvd.report.targets import COVERAGE_90, LEAST_QUOTES, Target

PURPOSE = """<h2>Purpose</h2>
<p>kvd turns an option venue's quotes into one smile an expiry, with an error bar on every number. This report asks,
on one recorded tape, whether those smiles can be used: whether they lie between bid and ask, also for instruments
that the filter was never shown; whether they foretell the next quote; whether the error bars mean what they say; and
whether what was published is free of static arbitrage. Each figure stands beside what others make of the same
quotes.</p>"""

METHOD = """<h2>Method</h2>
<p>The tape is replayed through the same path as the live stream. A fifth of the instruments, chosen by a hash of
their names, is withheld from the filter and used to judge only.</p>
<ul>
<li><b>Quotes that count</b> are out of the money, two-sided, with a half-spread below a quarter of the mid vol and
more than an hour to expiry. The yardstick is the venue's own bid and ask vol at <i>k</i> = ln(strike / the underlying
price of the frame).</li>
<li><b>Inside</b>: every 60 s of tape time, over the newest counted quote of each instrument no older than 180 s, the
share with bid &le; vol &le; ask. <b>Held-out</b>: the same over withheld instruments. A held smile counts while it is
shown.</li>
<li><b>Predictive</b>: each counted quote of an instrument that the filter is shown, when it arrives, against what
each contender said before. The mark is that of the quote's own instant, so it foretells nothing.</li>
<li><b>Bands</b>: shares of mids within the 50, 90 and 95 % predictive bands, state and measurement variance together,
of the quotes that entered the filter. <b>NIS</b>: the normalised innovation squared per degree of freedom, of all
prior innovations before any is down-weighted; 1 if the noise is right.</li>
<li><b>Static arbitrage</b>: every published smile, by a checker that shares no code with what makes smiles free of
it: Durrleman's <i>g</i> and the calendar gaps to the neighbours' newest smiles below &minus;1e-9 on the certificate's
range, at 2,001 points and by a local minimisation between the lowest.</li>
</ul>
<p>The contenders: <b>backbone</b>, the same filter without the residual curve; <b>refit</b>, a cold least-squares fit
of the same five coordinates every 60 s to the quotes of the last 180 s that the filter is shown too, with a weak
prior; <b>mark</b>, the venue's own mark vol; <b>last value</b>, the last counted mid of the same instrument. Standard
errors are those of ratios of sums over half hours, since quotes of one instrument err alike for long.</p>"""

LIMITS = """<h2>Limits</h2>
<ul>
<li>One tape is one day of one venue. What it shows of calm says little of stress.</li>
<li>Bid, ask and underlying price are the venue's. Where its underlying price is wrong, the yardstick is bent for
every contender alike.</li>
<li>Inside counts a quote by its own width: a wide market is easily met. Held-out and predictive errors to the mid
have no such leniency, but the mid is not the truth either.</li>
<li>The fifth withheld is fixed by name. Where a whole wing is withheld, the smile there is the prior's.</li>
<li>The bands drawn around smiles are those of the five coordinates; the noise of a quote comes on top of them.</li>
<li>The checker looks where the certificate says. Beyond the certificate's range nothing is promised.</li>
<li>Costs are processor time on the machine that made this page: of the calibrator's whole step, for each slice that
got quotes, and of the least-squares call alone for the refit.</li>
</ul>"""

BY_TENOR = (
    ("inside", "Inside", "Shares with two standard errors. Instruments shown to the filter."),
    ("heldout_inside", "Held-out inside", "Instruments that neither the filter nor the refit was shown."),
    (
        "predictive_inside",
        "Predictive inside",
        "Each quote against what was said before it came; the mark came with it.",
    ),
)
COVERAGE = (
    "Dotted: what a band promises. Bars: two standard errors, as if quotes were independent, which they are not quite."
)
INNOVATIONS = "By half hour, where there were ten quotes or more. Above 1 the filter is too sure, below 1 too modest."
SMILES = (
    "Vols in percent over log-moneyness. Bars reach from bid to ask; orange ones belong to withheld instruments. "
    "The band is that of the five coordinates of the backbone."
)
SKEWS = "K is the slope of normalised total variance at the money, halved; negative where puts are dearer. Band: 90 %."


def data(about: Mapping[str, Any], chronicles: Mapping[str, Chronicle]) -> str:
    """What was replayed."""
    spans = "".join(
        f"<li><b>{underlying}</b>: {instant(c.began_us):%Y-%m-%d %H:%M} to {instant(c.ended_us):%Y-%m-%d %H:%M} UTC, "
        f"{len(c.points)} expiries, "
        f"{about['underlyings'][underlying]['smiles_published']:,} smiles published</li>"
        for underlying, c in chronicles.items()
    )
    return f"<h2>Data</h2><p>Frames of the venue's public stream, as recorded, in order of arrival:</p><ul>{spans}</ul>"


def verdict(found: Sequence[Target]) -> str:
    """One sentence on the targets."""
    missed = [t.name for t in found if t.met is False]
    judged = sum(t.met is not None for t in found)
    said = f"{judged - len(missed)} of {judged} targets are met" + (f"; missed: {'; '.join(missed)}" if missed else "")
    return f'<p class="verdict">{said}.</p>'


def counts(report: Mapping[str, Any]) -> str:
    """How many quotes stand behind the table."""
    return (
        f"{report.get('n', 0):,} quotes sampled, {report.get('heldout_n', 0):,} held out, "
        f"{report.get('predictive_n', 0):,} predicted. The target of coverage is {COVERAGE_90[0]} to "
        f"{COVERAGE_90[1]} in every tenor of {LEAST_QUOTES} quotes."
    )


def states(report: Mapping[str, Any]) -> str:
    """How often each state was published."""
    told = ", ".join(f"{state} {n:,}" for state, n in sorted(report["states"].items(), key=lambda row: -row[1]))
    return f"By number of smiles published: {told}. Of each expiry the first publication of a minute is drawn."


def violations(report: Mapping[str, Any]) -> str:
    """What the checker found."""
    found, false = report["violations"], report["false_certificates"]
    total, smiles = sum(found.values()), report["smiles_published"]
    if not total and not false:
        return (
            f"<p>None: all {smiles:,} published smiles are free of it on their certificates' ranges, "
            "and every certificate is true.</p>"
        )
    return (
        f"<p>Of {smiles:,} published smiles: {found['butterfly']:,} butterflies, {found['calendar']:,} calendar gaps, "
        f"{false:,} certificates that claim too much. The first of them:</p>"
    )


def instant(at_us: int) -> datetime:
    """An instant of the tape, UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).replace(tzinfo=None)


def day(expiry_us: int) -> str:
    """An expiry as a date."""
    return instant(expiry_us).strftime("%d %b %Y").lstrip("0")
