"""Pixels: what the query of an image request says."""

import base64
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_api_key,
    decode_classic,
    decode_event,
    pixel_event,
    restore,
    stream_seed,
)


def said(dialect: Any, query: str, path_type: str | None = "track") -> dict[str, Any]:
    body = pixel_event(dialect, path_type, query)
    assert isinstance(body, bytes), body
    event = json.loads(body)
    assert isinstance(event, dict)
    return event


DATAFLY = "wk=dk_1&e=Product+Added&uid=u%201&aid=a&p.price=79.99&p.a.b=%C3%A9&t.plan=pro"
DATAFLY += "&ts=1772029800000&mid=m&cb=9"


def test_the_short_names_of_datafly() -> None:
    assert said("segment", DATAFLY) == {
        "event": "Product Added",
        "userId": "u 1",
        "anonymousId": "a",
        "properties": {"price": "79.99", "a": {"b": "é"}},
        "traits": {"plan": "pro"},
        "timestamp": 1_772_029_800_000,
        "messageId": "m",
    }


def test_a_datafly_pixel_is_an_event() -> None:
    facts = RequestFacts(1_772_029_801_250, "browser", "track", None, None, None, stream_seed("site"))
    body = pixel_event("segment", "track", DATAFLY)
    assert isinstance(body, bytes)
    decoded = decode_event(body, facts, Limits())
    assert isinstance(decoded, Decoded)
    event = restore(decoded.head, bytes(decoded.items[0]))
    assert (event["messageId"], event["timestamp"]) == ("m", "2026-02-25T14:30:00.000Z")


@pytest.mark.parametrize(("path_type", "field"), [("page", "name"), ("screen", "name"), ("track", "event")])
def test_the_name_is_that_of_the_path(path_type: str, field: str) -> None:
    assert said("segment", "e=x", path_type) == {field: "x"}


@pytest.mark.parametrize("moment", ["soon", "1.5", "-1", "9" * 16])
def test_a_time_that_is_no_number_of_milliseconds_is_left_to_stamping(moment: str) -> None:
    assert said("segment", f"ts={moment}") == {"timestamp": moment}


@pytest.mark.parametrize("dialect", ["jitsu", "classic"])
def test_the_short_names_are_datafly_s_alone(dialect: Any) -> None:
    event = said(dialect, "e=x&p.a=1&uid=u")
    assert {name: event[name] for name in ("e", "p", "uid")} == {"e": "x", "p": {"a": "1"}, "uid": "u"}


EVENT = {"event": "x~~???ÿÿÿ>>>", "properties": {"n": 1}}
ENCODED = base64.b64encode(json.dumps(EVENT, ensure_ascii=False).encode()).decode()
assert "+" in ENCODED
assert "/" in ENCODED


@pytest.mark.parametrize("dialect", ["segment", "jitsu", "classic"])
@pytest.mark.parametrize(
    "data",
    [
        ENCODED,
        ENCODED.rstrip("="),
        quote(ENCODED, safe=""),
        ENCODED.replace("+", " "),
        quote(ENCODED.replace("+", " ")),
        ENCODED.replace("+", "-").replace("/", "_"),
        quote(json.dumps(EVENT)),
    ],
)
def test_data_in_every_alphabet(dialect: Any, data: str) -> None:
    event = said(dialect, f"data={data}&writeKey=k")
    assert {name: event[name] for name in EVENT} == EVENT


def test_single_names_win_over_data() -> None:
    event = said("jitsu", f"data={ENCODED}&properties.m=2&event=y&cookie_domain=x&process_headers=1")
    assert event == {"event": "y", "properties": {"n": 1, "m": "2"}}


def test_a_repeated_name_is_a_list() -> None:
    assert said("segment", urlencode([("p.tag", "a"), ("p.tag", "b")])) == {"properties": {"tag": ["a", "b"]}}


def test_credentials_are_not_part_of_the_event() -> None:
    assert said("segment", "writeKey=a&writekey=b&wk=c&x=1") == {"x": "1"}
    event = said("classic", "token=a&p_abc=b&api_key=c&x=1&p.y=2")
    assert event == {"src": "jitsu_gif", "x": "1", "p": {"y": "2"}}


def test_a_classic_pixel_is_a_classic_event() -> None:
    data = base64.b64encode(b'{"event_type":"page_view","token":"k","url":"u"}').decode()
    body = pixel_event("classic", None, f"data={data}&user.id=7")
    assert isinstance(body, bytes)
    assert body_api_key(body) == "k"
    facts = RequestFacts(1_772_029_801_250, "browser", None, None, None, None, stream_seed("site"))
    decoded = decode_classic(body, facts, Limits())
    assert isinstance(decoded, Decoded)
    event = restore(decoded.head, bytes(decoded.items[0]))
    assert (event["type"], event["userId"]) == ("page", "7")
    assert event["properties"] == {"event_type": "page_view", "url": "u", "src": "jitsu_gif", "user": {}}


@pytest.mark.parametrize("query", ["", "&&", "wk=k", "data="])
def test_a_query_that_says_nothing_is_an_empty_event(query: str) -> None:
    assert said("segment", query, "page") == {}


@pytest.mark.parametrize(
    "query",
    [
        "data=%%%",
        "data=e",
        "data=%ff",
        "data=é",
        "data=W10=",
        "data=NQ&x=1",
        "data=eyJh&x=1",
        "a=1&a.b=2",
        "a.b=1&a=2",
        f"data={ENCODED}&properties=1",
        f"data={ENCODED}&event.x=1",
        "&".join(["x=1"] * 1_001),
    ],
)
@pytest.mark.parametrize("dialect", ["segment", "jitsu", "classic"])
def test_a_query_that_cannot_be_read_is_refused(dialect: Any, query: str) -> None:
    refusal = pixel_event(dialect, "track", query)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "bad_request"


def test_a_path_is_bounded() -> None:
    event = said("jitsu", f"{'a.' * 5_000}b=1")
    depth = 0
    while isinstance(event, dict):
        (event,) = event.values()
        depth += 1
    assert (depth, event) == (32, "1")
