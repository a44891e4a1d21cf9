from hypothesis import given
from hypothesis import strategies as st

from kvd.venues.deribit.silence import DUE_AFTER_US, MAX_ASKS, Silence

TICKERS = [f"ticker.{n}.100ms" for n in range(6)]


def ask(silence, channels, at_us):
    silence.asked(channels)
    silence.confirmed(channels, at_us)


def test_a_channel_that_speaks_before_or_after_its_confirmation_is_not_awaited():
    silence = Silence()
    silence.asked(TICKERS[:2])
    silence.unheard.discard(TICKERS[0])
    silence.confirmed(TICKERS[:2], 0)
    silence.unheard.discard(TICKERS[1])
    assert silence.overdue(10 * DUE_AFTER_US) == [] and len(silence) == 0


def test_what_has_nothing_to_say_at_once_is_not_awaited():
    silence = Silence()
    ask(silence, ["platform_state", "instrument.state.option.BTC", "deribit_price_index.btc_usd"], 0)
    assert silence.overdue(DUE_AFTER_US - 1) == []
    assert silence.overdue(DUE_AFTER_US) == ["deribit_price_index.btc_usd"]


def test_it_is_asked_for_again_a_few_times_and_then_given_up_until_it_speaks():
    silence, now_us = Silence(), 0
    for ask_number in range(1, MAX_ASKS + 1):
        ask(silence, TICKERS[:1], now_us)
        now_us += DUE_AFTER_US
        assert silence.overdue(now_us) == (TICKERS[:1] if ask_number < MAX_ASKS else [])
        assert len(silence) == 1
    assert silence.given_up == {TICKERS[0]}
    assert silence.overdue(100 * now_us) == []
    silence.unheard.discard(TICKERS[0])
    assert len(silence) == 0


def test_one_that_leaves_is_forgotten():
    silence = Silence()
    ask(silence, TICKERS[:2], 0)
    silence.forget(TICKERS[0])
    assert silence.overdue(DUE_AFTER_US) == [TICKERS[1]]


@given(st.lists(st.tuples(st.sampled_from(["ask", "speak", "leave", "wait"]), st.sampled_from(TICKERS)), max_size=60))
def test_nobody_is_asked_for_too_often_or_while_it_speaks(steps):
    silence, now_us, asks, spoken = Silence(), 0, dict.fromkeys(TICKERS, 0), set()
    for step, channel in steps:
        if step == "ask" and not asks[channel]:
            asks[channel] = 1
            ask(silence, [channel], now_us)
        elif step == "speak":
            silence.unheard.discard(channel)
            spoken |= {channel} if asks[channel] else set()
        elif step == "leave":
            silence.forget(channel)
            asks[channel] = 0
            spoken.discard(channel)
        elif step == "wait":
            now_us += DUE_AFTER_US
            again = silence.overdue(now_us)
            assert len(again) == len(set(again)) and not spoken.intersection(again)
            for late in again:
                asks[late] += 1
                assert 1 < asks[late] <= MAX_ASKS
            ask(silence, again, now_us)
    assert len(silence) <= sum(count > 0 for channel, count in asks.items() if channel not in spoken)
