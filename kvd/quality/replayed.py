"""The measures of a replay: the published smiles alone."""

from collections.abc import Iterable
from functools import cache, partial
from typing import Any

from kvd.quality.contenders import Published
from kvd.quality.contest import Contest
from kvd.quality.ledger import Ledger
from kvd.quotes import Quote, held_out
from kvd.surface import SurfaceUpdate

NAME = "kvd"


class Quality:
    """The measures of one underlying: feed it quotes and updates in tape order, read `report` at any time."""

    def __init__(self, seed: str) -> None:
        self._published = Published()
        self._contest = Contest(cache(partial(held_out, seed)), {NAME: self._published}, predictive=False)
        self._ledger = Ledger()

    def hear(self, quotes: Iterable[Quote], now_us: int) -> None:
        """Take the quotes of one batch, after sampling every whole minute that lies before `now_us`."""
        self._contest.hear(quotes, now_us)

    def see(self, update: SurfaceUpdate) -> None:
        """Take what was published."""
        self._published.see(update)
        self._ledger.see(update)

    def report(self) -> dict[str, Any]:
        """The measures by name; a ratio of nothing is absent."""
        score, told = self._contest.scores[NAME], self._ledger.measures()
        measures = {
            "inside": score.shown.inside_ratio,
            "rmse_vol": score.shown.rmse_vol,
            "quotes": score.shown.n,
            "heldout_inside": score.withheld.inside_ratio,
            "heldout_rmse_vol": score.withheld.rmse_vol,
            "heldout_quotes": score.withheld.n,
            "nis_mean": told.get("nis_mean"),
            "nis_dof": told["nis_dof"],
            "smiles_published": told["smiles_published"],
            "held_ratio": told.get("held_ratio"),
            "diverged": score.diverged,
        }
        return {name: value for name, value in measures.items() if value is not None}
