"""What is amiss, since when, and what of it makes kvd unready."""

from smiles import CHRISTMAS, DAY, smile, update
from structlog.testing import capture_logs

from kvd.app.readiness import Readiness
from kvd.app.smiles import Smiles


def test_each_trouble_has_its_own_beginning_and_leaves_when_it_is_over():
    now_us, feed, audit = 100, {"deribit": "stale"}, {}
    readiness = Readiness(lambda: now_us)
    readiness.missing.append(lambda: feed)
    readiness.degraded.append(lambda: audit)
    assert readiness.look() == (("deribit", "stale", True, 100),)
    now_us, audit["audit"] = 200, "disk full"
    feed["deribit"] = "still"  # the words may change, the trouble is the same
    assert readiness.look() == (("deribit", "still", True, 100), ("audit", "disk full", False, 200))
    assert readiness.line() == "not ready; deribit: still; audit: disk full"
    feed.clear()
    now_us = 300
    assert readiness.look() == (("audit", "disk full", False, 200),)
    assert readiness.line() == "ready; audit: disk full"
    audit.clear()
    feed["deribit"] = "again"
    assert readiness.look() == (("deribit", "again", True, 300),)


def test_changes_of_readiness_are_logged_and_nothing_else():
    feed = {"deribit": "none yet"}
    readiness = Readiness(lambda: 0)
    readiness.missing.append(lambda: feed)
    with capture_logs() as events:
        readiness.look()
        feed.clear()
        readiness.look()
        readiness.look()
        feed["deribit"] = "stale"
        readiness.look()
        readiness.look()
    assert [(event["event"], event.get("missing")) for event in events] == [
        ("daemon.ready", None), ("daemon.unready", {"deribit": "stale"}),
    ]  # fmt: skip


def test_held_smiles_are_named_until_they_are_good_again_or_gone():
    smiles = Smiles()
    assert list(smiles.missing()) == ["smiles"] and smiles.degraded() == {}
    smiles.see(update(smile(state="held"), smile(CHRISTMAS + DAY)))
    assert smiles.missing() == {}
    assert smiles.degraded() == {"held": "1 smile is held, no arbitrage-free one being near enough: BTC of deribit"}
    smiles.see(update(smile(CHRISTMAS + DAY, state="held"), smile(underlying="ETH", state="held")))
    assert smiles.degraded()["held"].startswith("3 smiles are held,")
    assert smiles.degraded()["held"].endswith(": BTC of deribit, ETH of deribit")
    smiles.see(update(smile(), withdrawn=(CHRISTMAS + DAY,)))
    assert smiles.degraded() == {"held": "1 smile is held, no arbitrage-free one being near enough: ETH of deribit"}
