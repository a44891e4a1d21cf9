from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.quotes import BadFrame, Instrument, Refusal
from kvd.venues.deribit.names import Future, index_underlying, read_name

EIGHT_ON_29_DEC_23 = 1_703_836_800_000_000


def test_an_inverse_option():
    expected = Instrument("BTC-29DEC23-40000-C", "deribit", "BTC", EIGHT_ON_29_DEC_23, 40000.0, "call", True, 0.0005)
    assert read_name("BTC-29DEC23-40000-C") == expected


def test_a_linear_option_with_a_decimal_strike_is_another_underlying():
    option = read_name("XRP_USDC-29DEC23-0d625-P")
    assert isinstance(option, Instrument)
    assert (option.underlying, option.strike, option.option_type) == ("XRP_USDC", 0.625, "put")
    assert (option.inverse, option.tick_size) == (False, None)


def test_a_dated_future():
    assert read_name("BTC_USDC-29DEC23") == Future("BTC_USDC-29DEC23", "BTC_USDC", EIGHT_ON_29_DEC_23)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("BTC-PERPETUAL", "perpetual"),
        ("XRP_USDC-PERPETUAL", "perpetual"),
        ("BTC-FS-29DEC23_PERP", "future_spread"),
        ("BTC-CSR12-29DEC23-21000_23000", "combo"),
        ("BTC-STRG-29DEC23-74000_79000", "combo"),
        ("BTC-COMBO-1", "combo"),
        ("BTC_USDC", "spot"),
    ],
)
def test_what_is_left_out_says_why(name: str, reason: str):
    assert read_name(name) == Refusal("deribit", reason)


@pytest.mark.parametrize(
    "name",
    ["", "BTC-31FEB24-100-C", "BTC-29XXX23-100-C", "BTC-0JAN24-5-P", "BTC-29DEC23-0-C", "BTC-29DEC23-1e5-C",
     "BTC-29DEC23-" + "9" * 400 + "-C", "BTC-29DEC23-100-X", "btc-29DEC23-100-C", "BTC-29DEC23-100-C\n",
     "BTC-٢٩DEC23-100-C"],
)  # fmt: skip
def test_what_is_no_name_is_a_bad_frame(name: str):
    with pytest.raises(BadFrame):
        read_name(name)


@given(
    day=st.dates(datetime(2016, 1, 1).date(), datetime(2099, 12, 31).date()),
    strike=st.integers(1, 999_999_999),
    decimals=st.integers(0, 999_999),
    call=st.booleans(),
)
def test_a_name_says_expiry_strike_and_type(day, strike, decimals, call):
    stamp = f"{day.day}{day.strftime('%b').upper()}{day.strftime('%y')}"
    option = read_name(f"SOL_USDC-{stamp}-{strike}d{decimals}-{'C' if call else 'P'}")
    assert isinstance(option, Instrument)
    assert option.expiry_us == int(datetime(day.year, day.month, day.day, 8, tzinfo=UTC).timestamp()) * 1_000_000
    assert option.strike == float(f"{strike}.{decimals}")
    assert option.option_type == ("call" if call else "put")


def test_an_index_prices_the_family_that_settles_on_it():
    assert [index_underlying(name) for name in ("btc_usd", "btc_usdc")] == ["BTC", "BTC_USDC"]
