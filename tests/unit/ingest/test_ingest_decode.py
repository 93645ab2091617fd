"""Decoding one event: the rules for its fields, and what is kept of its bytes."""

import json
from typing import Any

import pytest

from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_write_key,
    decode_event,
    message_hash,
    restore,
    stream_seed,
)

SEED = stream_seed("site")
RECEIVED_MS = 1_772_029_801_250


def facts(path_type: str | None = None, needs_identity: bool = False) -> RequestFacts:
    return RequestFacts(RECEIVED_MS, "server", path_type, None, None, None, SEED, needs_identity)


def decode(event: Any, path_type: str | None = None, needs_identity: bool = False) -> Decoded | Refusal:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return decode_event(body, facts(path_type, needs_identity), Limits())


def accepted(event: Any, path_type: str | None = None) -> Decoded:
    decoded = decode(event, path_type)
    assert isinstance(decoded, Decoded), decoded
    return decoded


GOOD = [
    {"type": "page"},
    {"type": "page", "name": None, "properties": None, "traits": None, "context": None},
    {"type": "screen", "name": "Home"},
    {"type": "alias", "userId": "u", "previousId": "a"},
    {"type": "track", "event": "Bought"},
    {"type": "identify", "userId": "u"},
    {"type": "identify", "userId": None, "anonymousId": "a", "traits": {"plan": "pro"}},
    {"type": "identify", "userId": "", "anonymousId": "a"},
    {"type": "identify", "userId": 7},
    {"type": "group", "groupId": "g"},
    {"type": "group", "groupId": 7},
    {"type": "page", "messageId": "m" * 256},
]


@pytest.mark.parametrize("event", GOOD, ids=str)
def test_a_good_event_is_accepted(event: dict[str, Any]) -> None:
    assert len(accepted(event).items) == 1


BAD = [
    ({}, "invalid_event", "type is required"),
    ({"type": ""}, "invalid_event", "type is required"),
    ({"type": None}, "invalid_event", "type is required"),
    ({"type": 5}, "invalid_event", "type must be a string"),
    ({"type": "click"}, "unknown_type", "click"),
    ({"type": "Track", "event": "x"}, "unknown_type", "Track"),
    ({"type": "track"}, "invalid_event", "event is required"),
    ({"type": "track", "event": ""}, "invalid_event", "event is required"),
    ({"type": "track", "event": None}, "invalid_event", "event is required"),
    ({"type": "track", "event": ["x"]}, "invalid_event", "event must be a string"),
    ({"type": "identify"}, "invalid_event", "userId or anonymousId"),
    ({"type": "identify", "userId": "", "anonymousId": ""}, "invalid_event", "userId or anonymousId"),
    ({"type": "group", "userId": "u"}, "invalid_event", "groupId is required"),
    ({"type": "page", "userId": True}, "invalid_event", "userId must be a string"),
    ({"type": "page", "anonymousId": {"id": 1}}, "invalid_event", "anonymousId must be a string"),
    ({"type": "page", "properties": []}, "invalid_event", "properties must be an object"),
    ({"type": "page", "traits": "x"}, "invalid_event", "traits must be an object"),
    ({"type": "page", "context": 1}, "invalid_event", "context must be an object"),
    ({"type": "page", "messageId": "m" * 257}, "invalid_event", "messageId is longer than 256"),
    ({"type": "page", "messageId": ["m"]}, "invalid_event", "messageId must be a string"),
    ([], "empty_batch", "no events"),
    (7, "invalid_event", "must be a JSON object"),
    ("text", "invalid_event", "must be a JSON object"),
    (None, "invalid_event", "must be a JSON object"),
    (b"", "bad_json", "not JSON"),
    (b'{"type":"page"', "bad_json", "not JSON"),
    (b'{"type":"page",}', "bad_json", "not JSON"),
    (b"type=page", "bad_json", "not JSON"),
    (b'{"type":"page"} {"type":"page"}', "bad_json", "not JSON"),
]


@pytest.mark.parametrize(("event", "slug", "detail"), BAD, ids=lambda value: str(value)[:40])
def test_a_bad_event_is_refused(event: Any, slug: str, detail: str) -> None:
    refusal = decode(event)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == slug
    assert detail in refusal.detail


def test_the_type_of_the_path_wins_and_a_mismatch_is_counted() -> None:
    decoded = accepted({"type": "page", "event": "Bought"}, "track")
    assert decoded.type_mismatches == 1
    assert restore(decoded.head, bytes(decoded.items[0]))["type"] == "track"


def test_the_path_can_supply_the_type() -> None:
    decoded = accepted({"event": "Bought"}, "track")
    assert decoded.type_mismatches == 0
    assert restore(decoded.head, bytes(decoded.items[0]))["type"] == "track"


def test_the_rules_are_those_of_the_path_type() -> None:
    assert isinstance(decode({"type": "page"}, "track"), Refusal)


@pytest.mark.parametrize("ids", [{"userId": "u"}, {"anonymousId": "a"}, {"userId": 5}])
def test_an_identity_can_be_required(ids: dict[str, Any]) -> None:
    assert isinstance(decode({"type": "page"}, needs_identity=True), Refusal)
    assert isinstance(decode({"type": "page", **ids}, needs_identity=True), Decoded)


def test_a_regular_event_keeps_its_bytes() -> None:
    body = b' {"type" : "page",\n "messageId":"m-1", "n": 1.50, "big": 18446744073709551616, "s": "\\u0000"} '
    decoded = accepted(body)
    assert bytes(decoded.items[0]) == body
    assert decoded.ids == [message_hash(SEED, "m-1")]
    assert (decoded.received, decoded.repairs, decoded.errors) == (1, 0, [])


@pytest.mark.parametrize("body", [b'{"type":"page"}', b' { "type":"page" } ', b"{}", b"{ }"])
def test_a_missing_message_id_is_written_into_the_bytes(body: bytes) -> None:
    decoded = accepted(body, "page")
    event = json.loads(bytes(decoded.items[0]))
    assert event["messageId"][14] == "7"
    assert decoded.ids == [message_hash(SEED, event["messageId"])]
    assert int(event["messageId"].replace("-", "")[:12], 16) == RECEIVED_MS
    assert decoded.repairs == 0


def test_made_message_ids_differ() -> None:
    ids = {accepted({"type": "page"}).ids[0] for _ in range(100)}
    assert len(ids) == 100


def test_the_same_message_id_in_two_streams_has_two_hashes() -> None:
    assert message_hash(stream_seed("a"), "m") != message_hash(stream_seed("b"), "m")


def test_an_escaped_message_id_hashes_like_the_plain_one() -> None:
    plain = accepted('{"type":"page","messageId":"é1"}'.encode())
    escaped = accepted(b'{"type":"page","\\u006dessageId":"\\u00e9\\u0031"}')
    assert plain.ids == escaped.ids


def test_of_two_message_ids_the_last_counts() -> None:
    decoded = accepted(b'{"messageId":"a","type":"page","messageId":"b"}')
    assert decoded.ids == [message_hash(SEED, "b")]
    assert restore(decoded.head, bytes(decoded.items[0]))["messageId"] == "b"


def test_an_event_over_the_limit_is_too_large() -> None:
    body = json.dumps({"type": "page", "text": "x" * 120_000}).encode()
    assert len(accepted(body).items) == 1
    refusal = decode_event(body, facts(), Limits(event_bytes_max=len(body) - 1))
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "too_large"


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"writeKey":"k:s","type":"page"}', "k:s"),
        (b'{"batch":[{"a":NaN}],"writeKey":"k"}', "k"),
        (b'{"writeKey":""}', None),
        (b'{"writeKey":5}', None),
        (b'{"type":"page"}', None),
        (b"[1]", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b'{"writeKey":"k","x":"' + b"x" * 2_000_000 + b'"}', "k"),
        (b'{"writeKey":"k","x":NaN,"y":"' + b"x" * 2_000_000 + b'"}', None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_write_key_of_a_body(body: bytes, key: str | None) -> None:
    assert body_write_key(body) == key
