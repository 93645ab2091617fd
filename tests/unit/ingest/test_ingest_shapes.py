"""The shapes of a body: an event, a batch and an array are taken wherever an event is."""

import json
from typing import Any

import pytest

from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_api_key,
    body_write_key,
    decode_batch,
    decode_event,
    restore,
    stream_seed,
)

LIMITS = Limits(event_bytes_max=2_000)
PAGE = {"type": "page", "messageId": "1"}
TRACK = {"event": "Bought", "messageId": "2"}


def facts(path_type: str | None = None) -> RequestFacts:
    return RequestFacts(1_772_029_801_250, "server", path_type, None, None, None, stream_seed("site"))


def decoded(decode: Any, body: Any, path_type: str | None = None) -> Decoded:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    result = decode(text, facts(path_type), LIMITS)
    assert isinstance(result, Decoded), result
    return result


def types(result: Decoded) -> list[str]:
    return [restore(result.head, bytes(item))["type"] for item in result.items]


@pytest.mark.parametrize("decode", [decode_event, decode_batch])
@pytest.mark.parametrize("body", [[PAGE, TRACK], {"batch": [PAGE, TRACK]}])
@pytest.mark.parametrize("padding", [b"", b" \n", b"\xef\xbb\xbf"])
def test_several_events_are_taken_on_every_route(decode: Any, body: Any, padding: bytes) -> None:
    result = decoded(decode, padding + json.dumps(body).encode(), "track")
    assert [error.index for error in result.errors] == [0]  # a page without a name of an event
    assert types(result) == ["track"]
    assert result.received == 2


def test_a_bad_item_of_an_array_does_not_sink_the_good_ones() -> None:
    result = decoded(decode_event, b'[{"type":"page","messageId":"1"},7,{"type":"page","x":NaN}]')
    assert (result.received, len(result.items), result.repairs) == (3, 2, 1)
    assert [(error.index, error.slug) for error in result.errors] == [(1, "invalid_event")]


def test_an_array_keeps_the_bytes_of_its_events() -> None:
    result = decoded(decode_event, b'[ {"type":"page", "messageId":"1"} ]')
    assert bytes(result.items[0]) == b'{"type":"page", "messageId":"1"}'


def test_the_bound_of_an_event_is_not_that_of_an_array() -> None:
    events = [{"type": "page", "messageId": str(at), "x": "x" * 300} for at in range(20)]
    assert len(decoded(decode_event, events).items) == 20
    assert len(decoded(decode_event, {"batch": events}).items) == 20


@pytest.mark.parametrize(
    "event",
    [
        {"type": "page", "batch": [PAGE]},
        {"messageId": "m", "batch": [PAGE]},
        {"event": "x", "batch": [PAGE]},
        {"batch": "b"},
        {"properties": {"batch": [1]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("padding", [b"", b"\xef\xbb\xbf"])
def test_an_event_with_a_batch_of_its_own_is_one_event(event: dict[str, Any], padding: bytes) -> None:
    result = decoded(decode_event, padding + json.dumps(event).encode(), "page")
    assert (result.received, types(result)) == (1, ["page"])


@pytest.mark.parametrize("decode", [decode_event, decode_batch])
@pytest.mark.parametrize("more", [{"x": "x" * 2_000}, {"x": "x" * 2_000, "batch": "b"}], ids=["x", "batch"])
@pytest.mark.parametrize("odd", [{}, {"userId": 5}], ids=["", "irregular"])
def test_an_event_over_the_limit_is_refused_on_every_route(decode: Any, more: Any, odd: Any) -> None:
    if decode is decode_batch:
        more = {"x": more["x"]}
    refusal = decode(json.dumps({**PAGE, **more, **odd}).encode(), facts(), LIMITS)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "too_large"


def test_an_event_on_a_batch_route_is_one_event() -> None:
    result = decoded(decode_batch, b'{"type":"page", "messageId":"1"}')
    assert [bytes(item) for item in result.items] == [b'{"type":"page", "messageId":"1"}']


@pytest.mark.parametrize("depth", [990, 1_100, 5_000, 40_000])
def test_a_deep_item_does_not_sink_its_batch(depth: int) -> None:
    deep = b'{"type":"page","messageId":"d","x":%b"[{"%b}' % (b"[" * depth, b"]" * depth)
    body = b'{"batch":[%b,{"type":"page","messageId":"1","n":1}]}' % deep
    result = decode_batch(body, facts(), Limits())
    assert isinstance(result, Decoded)
    assert [restore(result.head, bytes(item))["messageId"] for item in result.items] == ["d", "1"]


@pytest.mark.parametrize(
    ("body", "write_key", "api_key"),
    [
        (b'[{"writeKey":"k"},{"writeKey":"l"}]', "k", "k"),
        (b'[{"api_key":"k"},7]', None, "k"),
        (b'{"api_key":"k"}', None, "k"),
        (b'{"writeKey":"w","api_key":"k"}', "w", "w"),
        (b'{"template":{"api_key":"k"},"events":[]}', None, "k"),
        (b'{"api_key":"","template":{"api_key":"k"},"x":NaN}', None, "k"),
        (b'[{"api_key":"k","x":NaN}]', None, "k"),
        (b'{"template":5}', None, None),
        (b'{"template":[{"api_key":"k"}]}', None, None),
        (b'{"api_key":5}', None, None),
        (b"[]", None, None),
        (b"[[[", None, None),
        (b"\xff", None, None),
    ],
)
def test_the_key_of_a_body(body: bytes, write_key: str | None, api_key: str | None) -> None:
    assert (body_write_key(body), body_api_key(body)) == (write_key, api_key)
