"""Classic events: kept as they came, mapped when they are restored, nothing of them lost."""

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest

from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    decode_classic,
    message_hash,
    restore,
    stream_seed,
)

SEED = stream_seed("site")
RECEIVED_MS = 1_772_029_801_250
RECEIVED = "2026-02-25T14:30:01.250Z"


def facts(kind: Any = "server") -> RequestFacts:
    return RequestFacts(RECEIVED_MS, kind, None, "203.0.113.9", "UA", "en", SEED)


def decode(body: Any, limits: Limits = Limits(), kind: Any = "server") -> Decoded | Refusal:  # noqa: B008
    return decode_classic(body if isinstance(body, bytes) else json.dumps(body).encode(), facts(kind), limits)


def restored(body: Any, kind: Any = "server") -> list[dict[str, Any]]:
    decoded = decode(body, kind=kind)
    assert isinstance(decoded, Decoded), decoded
    assert decoded.errors == []
    events = [restore(decoded.head, bytes(item)) for item in decoded.items]
    assert decoded.ids == [message_hash(SEED, event["messageId"]) for event in events]
    return events


def one(event: Any, kind: Any = "server") -> dict[str, Any]:
    (single,) = restored(event, kind)
    return single


def test_an_event_is_mapped_and_the_rest_is_properties() -> None:
    event = one(
        {
            "event_id": "e1",
            "user": {"id": "u", "anonymous_id": "a", "email": "x@example.com"},
            "utc_time": "2026-02-25T14:30:00.000000Z",
            "api_key": "secret",
            "event_type": "Bought",
            "price": 5,
        }
    )
    assert event == {
        "messageId": "e1",
        "userId": "u",
        "anonymousId": "a",
        "timestamp": "2026-02-25T14:30:00.000000Z",
        "type": "track",
        "event": "Bought",
        "receivedAt": RECEIVED,
        "requestIp": "203.0.113.9",
        "properties": {
            "user": {"email": "x@example.com"},
            "utc_time": "2026-02-25T14:30:00.000000Z",
            "event_type": "Bought",
            "price": 5,
        },
    }


def test_the_older_form_keeps_its_facts_in_eventn_ctx() -> None:
    context = {
        "event_id": "e",
        "user": {"id": 7, "anonymous_id": "a"},
        "utc_time": "2026-02-25",
        "ids": {"ga": 1},
    }
    event = one({"eventn_ctx": context, "event_type": "x", "event_id": "other"})
    assert [event[name] for name in ("messageId", "userId", "anonymousId")] == ["e", "7", "a"]
    assert event["timestamp"] == "2026-02-25T00:00:00.000Z"
    assert event["properties"]["eventn_ctx"] == {"user": {}, "utc_time": "2026-02-25", "ids": {"ga": 1}}
    assert event["properties"]["event_id"] == "other"


@pytest.mark.parametrize(
    ("event", "kind", "name"),
    [
        ({"event_type": "page_view"}, "page", None),
        ({"event_type": "pageview"}, "page", None),
        ({"event_type": "page"}, "page", None),
        ({"event_type": "screen"}, "screen", None),
        ({"event_type": "alias"}, "alias", None),
        ({"event_type": "user_identify", "user": {"anonymous_id": "a"}}, "identify", None),
        ({"event_type": "identify", "user": {"anonymous_id": ""}}, "track", "identify"),
        ({"event_type": "group", "group_id": 5}, "group", None),
        ({"event_type": "group"}, "track", "group"),
        ({"event_type": "track"}, "track", "track"),
        ({"event_type": "Page"}, "track", "Page"),
        ({"event_type": 5}, "track", "5"),
        ({"event_type": ["x"]}, "track", "event"),
        ({"event_type": ""}, "track", "event"),
        ({}, "track", "event"),
        ({"type": "page", "event": "x"}, "track", "event"),
    ],
    ids=str,
)
def test_the_type(event: dict[str, Any], kind: str, name: str | None) -> None:
    result = one(event)
    assert (result["type"], result.get("event")) == (kind, name)


@pytest.mark.parametrize(
    ("sent", "message_id"),
    [
        ({"event_id": "a"}, "a"),
        ({"eventn_ctx_event_id": "c", "event_id": "a"}, "c"),
        ({"eventn_ctx": {"event_id": "b"}, "eventn_ctx_event_id": "c"}, "b"),
        ({"eventn_ctx": {"event_id": ""}, "event_id": "a"}, "a"),
        ({"eventn_ctx": None, "event_id": "a"}, "a"),
        ({"eventn_ctx": "x", "event_id": "a"}, "a"),
        ({"event_id": "", "messageId": "m"}, "m"),
        ({"event_id": 12}, "12"),
        ({"event_id": 2**64}, str(2**64)),
        ({"event_id": "a\0b"}, "ab"),
        ({"event_id": "a", "messageId": ""}, "a"),
        ({"eventn_ctx_event_id": "\0", "event_id": "a\0"}, "a"),
        ({"eventn_ctx": {"event_id": "\0"}, "event_id": 5}, "5"),
    ],
    ids=str,
)
def test_the_id(sent: dict[str, Any], message_id: str) -> None:
    assert one(sent)["messageId"] == message_id


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"event_id": ""},
        {"event_id": "\0"},
        {"event_id": None},
        {"messageId": ""},
        {"messageId": None},
        {"event_id": [1]},
    ],
)
def test_an_event_without_an_id_gets_one(sent: dict[str, Any]) -> None:
    first, second = restored([sent, sent])
    assert len(first["messageId"]) == 36
    assert first["messageId"] < second["messageId"]  # as they came


@pytest.mark.parametrize("event", [{"messageId": ["m"]}, {"event_id": "m" * 257}, 7, None])
def test_what_is_no_event_is_refused(event: Any) -> None:
    refusal = decode(event)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "invalid_event"


@pytest.mark.parametrize(
    ("sent", "timestamp", "original"),
    [
        ({"utc_time": "2026-02-25T15:30:00+01:00"}, "2026-02-25T14:30:00.000Z", None),
        ({"utc_time": "", "_timestamp": "2026-02-25T14:30:00.000Z"}, "2026-02-25T14:30:00.000Z", None),
        ({"utc_time": "junk"}, RECEIVED, "junk"),
        ({}, RECEIVED, None),
    ],
)
def test_the_time(sent: dict[str, Any], timestamp: str, original: str | None) -> None:
    event = one(sent)
    assert (event["timestamp"], event.get("originalTimestamp")) == (timestamp, original)
    assert event["properties"] == sent


def test_a_regular_event_keeps_its_bytes() -> None:
    body = b' {"event_id": "e", "events": 5, "template": {}, "n": 1.50} '
    decoded = decode(body)
    assert isinstance(decoded, Decoded)
    assert [bytes(item) for item in decoded.items] == [body]


def test_a_template_holds_below_every_event() -> None:
    body = {
        "template": {"api_key": "secret", "src": "x", "user": {"id": "u"}, "event_id": "no", "n": 1},
        "events": [{"n": 2}, {"event_id": "2", "user": {"id": "v"}}],
    }
    first, second = restored(body)
    assert first["properties"] == {"src": "x", "user": {}, "n": 2}
    assert (first["userId"], second["userId"]) == ("u", "v")
    assert len(first["messageId"]) == 36
    assert second["messageId"] == "2"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_id_that_does_not_count_is_data_whichever_path_it_takes(mark: bytes) -> None:
    event = one(mark + b'{"eventn_ctx_event_id":"0","event_id":"\\u0000"}')
    assert (event["messageId"], event["properties"]) == ("0", {"event_id": "\0"})


@pytest.mark.parametrize("odd", [b"", b',"x":NaN'])
@pytest.mark.parametrize("beside", [b"", b',"api_key":"k","sentAt":5,"event_type":"","eventn_ctx":null'])
def test_a_batch_is_read_as_an_array(odd: bytes, beside: bytes) -> None:
    events = b'[{"event_id":"1","event_type":"a"%b},{"event_id":"2"}]' % odd
    assert restored(b'{"batch":%b%b}' % (events, beside)) == restored(events)


@pytest.mark.parametrize("odd", [{}, {"x": math.nan}], ids=["", "irregular"])
@pytest.mark.parametrize("name", ["event_type", "type", "event", "event_id", "messageId"])
def test_an_event_with_a_batch_of_its_own_is_one_event(name: str, odd: Any) -> None:
    assert one({"batch": [{"event_id": "1"}], name: "x", **odd})["properties"]["batch"] == [{"event_id": "1"}]


@pytest.mark.parametrize(
    "body", [{"eventn_ctx": {"a": 1}, "batch": [{}]}, {"batch": "b"}, {"x": {"batch": [{}]}}]
)
def test_what_only_looks_like_a_batch_is_one_event(body: Any) -> None:
    assert one(body)["properties"] == body


@pytest.mark.parametrize("odd", [{}, {"x": math.nan}], ids=["", "irregular"])
def test_the_bound_of_an_event_is_not_that_of_a_batch(odd: Any) -> None:
    events = [{"event_id": str(at), "x": "x" * 300, **odd} for at in range(20)]
    decoded = decode({"batch": events}, Limits(event_bytes_max=1_000))
    assert isinstance(decoded, Decoded)
    assert (len(decoded.items), decoded.errors) == (20, [])


def test_a_template_is_measured_by_what_it_says() -> None:
    limits = Limits(shared_bytes_max=300)
    body = b'{"template":{%b"api_key":"%b","a":1},"events":[{"event_id":"1"}]}' % (b" " * 400, b"k" * 400)
    decoded = decode(body, limits)
    assert isinstance(decoded, Decoded)
    assert restore(decoded.head, bytes(decoded.items[0]))["properties"] == {"a": 1}


@pytest.mark.parametrize("template", [None, {}, {"eventn_ctx": {"event_id": "x"}}])
@pytest.mark.parametrize("odd", ["", ',"x":NaN'])
def test_a_template_that_says_nothing(template: Any, odd: str) -> None:
    body = f'{{"template":{json.dumps(template)},"events":[{{"event_id":"1"{odd}}}]}}'
    assert [event["messageId"] for event in restored(body.encode())] == ["1"]


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        ([], "empty_batch"),
        ({"template": {}, "events": []}, "empty_batch"),
        ({"batch": []}, "empty_batch"),
        ({"batch": [], "x": math.nan}, "empty_batch"),
        ({"batch": [{}] * 4}, "too_many_events"),
        ({"batch": [], "event_type": "x" * 2_000}, "too_large"),
        ({"template": [], "events": [{}]}, "invalid_event"),
        ([{}] * 4, "too_many_events"),
        ({"template": {}, "events": [{}] * 4}, "too_many_events"),
        ({"template": {"x": "x" * 400}, "events": [{}]}, "too_large"),
        ({"x": "x" * 2_000}, "too_large"),
        (b'{"event_type":', "bad_json"),
        (b"", "bad_json"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_is_refused_whole(body: Any, slug: str) -> None:
    refusal = decode(body, Limits(batch_events_max=3, event_bytes_max=1_000, shared_bytes_max=300))
    assert isinstance(refusal, Refusal)
    assert refusal.slug == slug


def test_a_bad_event_of_an_array_is_named() -> None:
    decoded = decode([{"event_id": "1"}, 7, {"event_id": "m" * 300}, {"messageId": {}, "event_id": "4"}])
    assert isinstance(decoded, Decoded)
    assert [error.index for error in decoded.errors] == [1, 2, 3]
    assert [error.message_id for error in decoded.errors] == [None, "m" * 300, "4"]


def test_a_browser_cannot_choose_tables_or_types() -> None:
    body = {
        "template": {"__sql_type_t": "int"},
        "events": [{"JITSU_TABLE_NAME": "t", "__sql_type_a": "int", "a": 1}],
    }
    (event,) = restored(body, "browser")
    assert event["properties"] == {"a": 1}
    assert event["context"] == {"userAgent": "UA", "locale": "en", "ip": "203.0.113.9"}
    assert "JITSU_TABLE_NAME" not in event


def test_a_server_can_choose_the_table() -> None:
    event = one({"JITSU_TABLE_NAME": "t", "a": 1})
    assert (event["JITSU_TABLE_NAME"], event["properties"]) == ("t", {"a": 1})


RECORDED = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "classic.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("row", RECORDED, ids=[f"{row['scenario']}-{at}" for at, row in enumerate(RECORDED)])
def test_recorded_traffic_is_taken_whole(row: dict[str, Any]) -> None:
    body = base64.b64decode(row["body_b64"])
    sent = json.loads(body)
    for original, event in zip(sent if isinstance(sent, list) else [sent], restored(body), strict=True):
        context = original.get("eventn_ctx", original)
        assert event["timestamp"] == context["utc_time"]
        assert event.get("anonymousId", "") == context["user"]["anonymous_id"]
        own = {name for name in original if name not in ("api_key", "event_id")}
        assert set(event["properties"]) == own
        assert event.get("event", event["type"]) in (original["event_type"], "page", "identify")
