"""R8: whatever is quoted, what is published is finite, positive definite and free of arbitrage, or held.

    PYTHONPATH=tests python tests/faults/hostile_markets.py --markets 100 --batches 50 [--seed 1] [--part 0/2]
    PYTHONPATH=tests python tests/faults/hostile_markets.py --only 4711

A market is so many batches of `hostile_quotes`, put to a calibrator and an encoder as the daemon has them. Every
smile is decoded from its message and judged from that alone, and by `kvd.checker`. The last line is an object of what
was counted.
"""

import json
import time
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from beside import arguments, beside, own
from hostile_quotes import HostileMarket
from verdicts import Row, Scale

from kvd.calibrator import Calibrator
from kvd.checker import Checker
from kvd.config import Settings
from kvd.surface import Smile
from kvd.wire import Encoder, decode

BATCHES = 100
POINTS = 41


def complaints(smile: Smile) -> Iterator[str]:
    """What of a smile must never be published."""
    several = (smile.parameters, smile.sd, smile.raw, smile.jump_wings, smile.residual, smile.vol_sd, smile.regime)
    arrays = (smile.vol_root, smile.covariance.ravel(), smile.certificate[:2])
    scalars = (smile.tau, smile.forward.value, smile.forward.sd, smile.certificate.butterfly)
    if not np.isfinite(
        np.concatenate([np.asarray(part, dtype=np.float64) for part in (*several, *arrays, scalars)])
    ).all():
        yield "a number is not finite"
    try:
        np.linalg.cholesky(smile.covariance)
    except np.linalg.LinAlgError:
        yield "the covariance is not positive definite"
    if min(smile.tau, smile.parameters.atm_vol, smile.forward.value) <= 0:
        yield "tau, level or forward is not positive"
    if min(*smile.sd, *smile.vol_sd, smile.forward.sd) < 0:
        yield "a standard deviation is negative"
    strikes = smile.forward.value * np.exp(np.linspace(smile.certificate.k_low, smile.certificate.k_high, POINTS))
    if not (np.isfinite(vols := smile.vol(strikes)) & (vols > 0)).all():
        yield "a vol is not positive"


class Life:
    """One market and what was published of it. `wrong` tells everything that must not have been."""

    def __init__(self, number: int, batches: int = BATCHES, locks: float = 0.1) -> None:
        self._number, self._length, self._locks = number, batches, locks
        self.batches = self.smiles = self.held = 0
        self.wrong: list[str] = []
        self.slowest_s = 0.0

    def live(self) -> None:
        """From its first batch to its last, or to what brings the calibrator down."""
        calibrator, encoder = Calibrator(Settings()), Encoder("e")
        checkers: dict[str, Checker] = {}
        for batch in HostileMarket(self._number, self._locks).batches(self._length):
            self.batches += 1
            began_s = time.perf_counter()
            try:
                updates = calibrator.step(batch)
                told = [(update, encoder.encode(update)) for update in updates]
            except Exception as error:
                self._complain([f"{type(error).__name__}: {error}"[:300]])
                return
            self.slowest_s = max(self.slowest_s, time.perf_counter() - began_s)
            for update, messages in told:
                checker = checkers.setdefault(update.underlying, Checker())
                self._complain([f"{found}" for found in checker.see(update)])
                for message in messages:
                    if message.kind == "smile":
                        self._judge(decode(message.payload).smiles)

    def _judge(self, smiles: Sequence[Smile]) -> None:
        for smile in smiles:
            self.smiles += 1
            self.held += smile.state == "held"
            self._complain([f"{smile.expiry_us}: {why}" for why in complaints(smile)])

    def _complain(self, found: list[str]) -> None:
        self.wrong += [f"market {self._number}, batch {self.batches}: {one}" for one in found]


def run() -> None:
    """The markets that were asked for."""
    warnings.simplefilter("error")
    asked = arguments("--markets", "--batches", "--only")
    chosen = [asked.only] if asked.only is not None else own(asked, range(asked.markets or 10))
    offset = asked.seed * 100_000 if asked.only is None else 0
    lives = [Life(offset + number, asked.batches or BATCHES) for number in chosen]
    for life in lives:
        life.live()
    counts = {name: sum(getattr(life, name) for life in lives) for name in ("batches", "smiles", "held")}
    wrong = [one for life in lives for one in life.wrong]
    slowest_s = max((life.slowest_s for life in lives), default=0.0)
    print(json.dumps({**counts, "wrong": wrong, "markets": len(lives), "slowest_s": round(slowest_s, 3)}))


async def hostile_markets(scale: Scale) -> Sequence[Row]:
    """R8."""
    asked = {"--markets": scale.of(120, 12), "--batches": scale.of(BATCHES, 15), "--seed": scale.seed}
    parts = await beside("hostile_markets.py", asked, scale.of(2, 1))
    batches, smiles, held = (sum(part[name] for part in parts) for name in ("batches", "smiles", "held"))
    wrong = [one for part in parts for one in part["wrong"]]
    for one in wrong[:20]:
        scale.say(one)
    what = "hostile quotes: what is published is finite, positive definite, free of arbitrage (kvd.checker)"
    measured = f"{len(wrong)} wrong of {smiles:,} smiles, {held:,} of them held, n {batches:,} batches"
    return [Row("R8", what, measured, "0 wrong", not wrong and smiles > batches // 2)]


if __name__ == "__main__":
    run()
