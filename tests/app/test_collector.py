"""The garbage collector of this very process, frozen and measured."""

import gc
import weakref

from kvd.app.collector import Collector


class Node:
    """Part of a cycle."""


def cycle():
    """A weak reference to something that only a collection can end."""
    node = Node()
    node.itself = node
    return weakref.ref(node)


def test_what_is_frozen_is_not_looked_at_and_what_came_later_is_collected():
    with Collector() as collector:
        before = collector.statistics()
        assert before.frozen > 10_000
        garbage = [cycle() for _ in range(1000)]
        gc.collect()
        assert not any(gone() for gone in garbage)
        after = collector.statistics()
        assert after.collections["2"] >= 1 and 0 < after.longest_s["2"] < 1.0
        kept = [Node() for _ in range(1000)]
        collector.freeze()
        assert collector.statistics().frozen >= before.frozen + len(kept)
    assert gc.get_freeze_count() == 0
    assert collector._note not in gc.callbacks


def test_a_full_collection_is_short_for_it():
    """With nothing frozen it looks at everything that the modules hold."""

    def longest_s(collector):
        gc.collect()
        return collector.statistics().longest_s["2"]

    with Collector() as frozen:
        short_s = longest_s(frozen)
        gc.unfreeze()
        assert longest_s(frozen) > 2 * short_s
