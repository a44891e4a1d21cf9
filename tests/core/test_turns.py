from kvd.core.turns import finish


def counting(n):
    for _ in range(n):
        yield
    return n


def nested():
    return (yield from counting(2)) + (yield from counting(3))


def test_work_in_turns_comes_to_the_same_in_one_go_and_from_wherever_it_is_left():
    assert finish(counting(0)) == 0
    assert finish(nested()) == 5
    half = nested()
    assert [next(half) for _ in range(4)] == [None] * 4
    assert finish(half) == 5
