import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smiles import CHRISTMAS, DAY, smile, update

from kvd.sinks.answers import Sources
from kvd.sinks.pages import Call, answer
from kvd.sinks.subscriptions import Subscriptions
from kvd.sinks.topics import complaint
from kvd.wire import Encoder, covers, decode_smile

PARTS = st.sampled_from(["surface", "smile", "atm", "status", "deribit", "BTC", "ETH", "2026-12-25", "*"])
patterns = st.lists(PARTS, min_size=1, max_size=4).map(".".join)


def sources():
    encoder = Encoder("e1")
    encoder.encode(update(smile(CHRISTMAS + DAY), smile()))
    encoder.encode(update(smile(venue="okx")))
    encoder.encode(update(smile(underlying="BTC_USDC")))
    return Sources(encoder, dict, lambda: b"kvd_up 1\n")


def get(target):
    found = answer(Call("GET", target), sources())
    return found.status, json.loads(found.body)


def test_the_newest_smiles_of_an_underlying_by_venue():
    status, body = get("/v1/surface/BTC")
    assert (status, body["underlying"], body["epoch"]) == (200, "BTC", "e1")
    assert [(s["venue"], s["seq"], len(s["smiles"])) for s in body["surfaces"]] == [("deribit", 2, 2), ("okx", 1, 1)]
    nearest = decode_smile(json.dumps(body["surfaces"][0]["smiles"][0]))
    assert nearest.expiry_us == CHRISTMAS
    assert [s["venue"] for s in get("/v1/surface/BTC?venue=okx")[1]["surfaces"]] == ["okx"]
    assert get("/v1/surface/BTC%5FUSDC")[0] == 200


@pytest.mark.parametrize(
    "target", ["/v1/surface/DOGE", "/v1/surface/", "/v1/surface/BTC?venue=bybit", "/v1/surface/BTC?venue="]
)
def test_what_is_not_there_names_what_is(target):
    status, body = get(target)
    assert (status, body["code"]) == (404, "no_surface")
    assert body["message"].endswith("there are BTC of deribit, BTC_USDC of deribit, BTC of okx")


def test_before_the_first_smile_the_page_points_to_readyz():
    empty = Sources(Encoder("e1"), dict, bytes)
    found = answer(Call("GET", "/v1/surface/BTC"), empty)
    assert found.status == 404
    assert b"/readyz?verbose" in found.body


def test_an_expiry_that_left_is_not_shown():
    shown = sources()
    shown.encoder.encode(update(withdrawn=(CHRISTMAS, CHRISTMAS + DAY)))
    found = answer(Call("GET", "/v1/surface/BTC"), shown)
    assert [s["venue"] for s in json.loads(found.body)["surfaces"]] == ["okx"]


@given(st.text(), st.text(alphabet="GETPOS", min_size=1, max_size=4))
def test_any_request_gets_a_page_or_the_stream(target, method):
    for slash in ("", "/v1/surface/", "/v1/stream"):
        found = answer(Call(method, slash + target), sources())
        assert found is None or (found.status in range(200, 600) and found.body)


def matches(pattern, topic):
    want, have = pattern.split("."), topic.split(".")
    return len(want) == len(have) and all(w in ("*", h) for w, h in zip(want, have, strict=True))


@given(st.sets(patterns, max_size=4), st.lists(PARTS.filter("*".__ne__), min_size=1, max_size=4).map(".".join))
def test_a_star_stands_for_one_part(held, topic):
    assert covers(held, topic) == any(matches(pattern, topic) for pattern in held)


@given(st.text() | patterns)
def test_a_pattern_without_complaint_can_match(pattern):
    if complaint(pattern) is None:
        kinds = {1: "status", 3: "atm", 4: "smile"}
        parts = pattern.replace("*", "x").split(".")
        first = kinds[len(parts)] if pattern.startswith("*") else parts[0]
        assert covers({pattern}, ".".join([first, *parts[1:]]))


names = st.sampled_from(["a", "b"])
steps = st.lists(st.tuples(st.sampled_from(["add", "remove", "forget", "look"]), names, patterns), max_size=30)


@given(steps)
def test_the_table_agrees_with_matching_every_pattern(acts):
    table: Subscriptions[str, None] = Subscriptions(lambda _: None)
    model: dict[str, set[str]] = {"a": set(), "b": set()}
    for act, client, pattern in acts:
        if act == "add":
            table.add(client, [pattern])
            model[client].add(pattern)
        elif act == "remove":
            table.remove(client, [pattern])
            model[client].discard(pattern)
        elif act == "forget":
            table.forget(client)
            model[client].clear()
        for topic in ("status", "atm.deribit.BTC", pattern.replace("*", "BTC")):
            expected = {c for c, held in model.items() if any(matches(p, topic) for p in held)}
            listening = [c for group in table.groups(topic) for c in group.clients]
            assert sorted(listening) == sorted(expected)
        assert len(table) == sum(map(len, model.values()))
