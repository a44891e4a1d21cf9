"""What the daemon logs of the venue's marks: changes alone, and not what left."""

from smiles import CHRISTMAS, DAY, FACTS, update
from structlog.testing import capture_logs

from kvd.app.daemon import Daemon
from kvd.config import Settings


def said(*steps):
    """The events, after batches of (expiries in alarm, expiries withdrawn)."""
    daemon = Daemon(Settings())
    with capture_logs() as events:
        for alarms, withdrawn in steps:
            daemon.say_marks(update(withdrawn=withdrawn, facts=FACTS._replace(mark_alarms=alarms)))
    return [(e["event"], e["log_level"], e["expiry"][:10]) for e in events]


def test_marks_are_spoken_of_when_they_diverge_and_when_they_agree_again():
    both = (CHRISTMAS, CHRISTMAS + DAY)
    assert said(((), ()), (both, ()), (both, ()), ((CHRISTMAS + DAY,), ()), ((), ())) == [
        ("mark.diverged", "warning", "2026-12-25"),
        ("mark.diverged", "warning", "2026-12-26"),
        ("mark.agreed", "info", "2026-12-25"),
        ("mark.agreed", "info", "2026-12-26"),
    ]


def test_an_expiry_that_leaves_has_not_agreed():
    assert said(((CHRISTMAS,), ()), ((), (CHRISTMAS,))) == [("mark.diverged", "warning", "2026-12-25")]
