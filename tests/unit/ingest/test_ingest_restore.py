"""Stamping: a pure function of head and raw item."""

import json
from typing import Any

import msgspec
import pytest

from server.ingest import (
    Decoded,
    Limits,
    RequestFacts,
    UnknownHeadError,
    decode_event,
    restore,
    restorer,
    stream_seed,
)

RECEIVED_MS = 1_772_029_801_250
RECEIVED = "2026-02-25T14:30:01.250Z"


def stamped(event: Any, kind: Any = "server", **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "path_type": "page",
        "ip": "203.0.113.9",
        "user_agent": "UA",
        "locale": "en-US",
        **more,
    }
    facts = RequestFacts(RECEIVED_MS, kind, id_seed=stream_seed("site"), **values)
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    decoded = decode_event(body, facts, Limits())
    assert isinstance(decoded, Decoded), decoded
    first = restore(decoded.head, bytes(decoded.items[0]))
    assert restorer(decoded.head)(bytes(decoded.items[0])) == first
    return first


def test_the_server_says_when_it_received_an_event() -> None:
    assert stamped({"receivedAt": "2001-01-01T00:00:00Z"})["receivedAt"] == RECEIVED


TIMES = [
    ({}, RECEIVED, None),
    ({"timestamp": None, "originalTimestamp": ""}, RECEIVED, ""),
    ({"timestamp": "2026-02-25T14:30:00.000Z"}, "2026-02-25T14:30:00.000Z", None),
    ({"timestamp": "2026-02-25T14:30:00.123456Z"}, "2026-02-25T14:30:00.123456Z", None),
    ({"timestamp": "2026-02-25T15:30:00+01:00"}, "2026-02-25T14:30:00.000Z", None),
    ({"timestamp": "2026-02-25"}, "2026-02-25T00:00:00.000Z", None),
    ({"timestamp": 1_772_029_800_000}, "2026-02-25T14:30:00.000Z", None),
    (
        {"originalTimestamp": "2020-01-01T00:00:00.000Z"},
        "2020-01-01T00:00:00.000Z",
        "2020-01-01T00:00:00.000Z",
    ),
    ({"timestamp": "2031-01-01T00:00:00Z"}, "2031-01-01T00:00:00Z", None),
    ({"timestamp": "yesterday"}, RECEIVED, "yesterday"),
    ({"timestamp": {"at": 1}}, RECEIVED, {"at": 1}),
    ({"originalTimestamp": "yesterday"}, RECEIVED, "yesterday"),
    ({"timestamp": "1795011212345"}, RECEIVED, "1795011212345"),
]


@pytest.mark.parametrize(("event", "timestamp", "original"), TIMES, ids=[str(case[0]) for case in TIMES])
def test_the_timestamp(event: dict[str, Any], timestamp: str, original: object) -> None:
    result = stamped(event)
    assert result["timestamp"] == timestamp
    assert result.get("originalTimestamp") == original


SKEWS = [
    ("2026-02-25T14:00:00.000Z", "2026-02-25T14:10:00.000Z", "2026-02-25T14:20:01.250Z"),  # 20 minutes slow
    ("2026-02-25T16:00:00.000Z", "2026-02-25T16:00:10.000Z", "2026-02-25T14:29:51.250Z"),  # 90 minutes fast
    ("2026-02-25T17:00:00.000Z", "2026-02-25T16:00:00.000Z", RECEIVED),  # never into the future
    ("2026-02-25T14:29:00.000Z", "2026-02-25T14:29:30.000Z", None),  # half a minute is no skew
    ("2026-02-25T14:30:00.000Z", "2026-02-25T14:30:00.000Z", None),
    (
        "2026-02-25T14:25:00.000+00:00",
        "2026-02-25T14:25:01.250Z",
        "2026-02-25T14:30:00.000Z",
    ),  # 5 minutes are
    ("2026-02-25T14:30:00.000Z", "2026-02-25T14:30:00.000+02:00", "2026-02-25T14:30:01.250Z"),
    ("2026-02-25T14:30:00.000Z", "junk", None),
    ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00.000Z"),
    ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", RECEIVED),
]


@pytest.mark.parametrize(("timestamp", "sent_at", "corrected"), SKEWS)
def test_the_clock_of_a_browser_is_corrected(timestamp: str, sent_at: str, corrected: str | None) -> None:
    result = stamped({"timestamp": timestamp, "sentAt": sent_at}, "browser")
    assert result["timestamp"] == (corrected or timestamp)
    assert result.get("originalTimestamp") == (timestamp if corrected else None)


def test_a_clock_that_cannot_be_read_is_not_corrected() -> None:
    result = stamped({"timestamp": "2026-02-25T14:00:00.000Z", "sentAt": "1795011212345"}, "browser")
    assert (result["timestamp"], result["sentAt"]) == ("2026-02-25T14:00:00.000Z", "1795011212345")
    assert "originalTimestamp" not in result


def test_the_clock_of_a_server_is_believed() -> None:
    times = {"timestamp": "2026-02-25T16:00:00.000Z", "sentAt": "2026-02-25T16:00:10.000Z"}
    assert stamped(times)["timestamp"] == times["timestamp"]


CLAIMS = {
    "requestIp": "1.1.1.1",
    "context": {"ip": "1.1.1.1", "userAgent": "fake", "locale": "xx", "page": {}},
}


def test_a_browser_does_not_say_who_it_is() -> None:
    result = stamped(CLAIMS, "browser")
    assert result["requestIp"] == "203.0.113.9"
    assert result["context"] == {"ip": "203.0.113.9", "userAgent": "UA", "locale": "en-US", "page": {}}


def test_a_server_does() -> None:
    result = stamped(CLAIMS)
    assert result["requestIp"] == "203.0.113.9"
    assert result["context"] == CLAIMS["context"]


def test_a_removed_address_is_nowhere() -> None:
    result = stamped(CLAIMS, "browser", ip=None)
    assert "requestIp" not in result
    assert "ip" not in result["context"]


def test_a_server_does_not_say_the_address_of_its_request_either() -> None:
    result = stamped(CLAIMS, ip=None)
    assert "requestIp" not in result
    assert result["context"] == CLAIMS["context"]


def test_a_browser_keeps_what_its_request_did_not_say() -> None:
    result = stamped(CLAIMS, "browser", user_agent=None, locale=None)
    assert (result["context"]["userAgent"], result["context"]["locale"]) == ("fake", "xx")


def test_context_is_made_where_there_is_none() -> None:
    assert stamped({}, "browser")["context"] == {"userAgent": "UA", "locale": "en-US", "ip": "203.0.113.9"}
    assert "context" not in stamped({})
    assert "context" not in stamped({}, "browser", ip=None, user_agent=None, locale=None)


HINTS = [
    b'{"JITSU_TABLE_NAME":"t","__sql_type_a":"int","p":[{"__sql_type":"x","k":1}],"properties":{"__sql_type_b":"int"}}',
    b'{"JITSU_TABLE\\u005fNAME":"t","\\u005f_sql_type_a":1,"p":[{"_\\u005fsql_type":1,"k":1}],"properties":{}}',
]


@pytest.mark.parametrize("body", HINTS)
def test_a_browser_cannot_choose_tables_or_types(body: bytes) -> None:
    result = stamped(body, "browser", ip=None, user_agent=None, locale=None)
    del result["messageId"], result["type"], result["receivedAt"], result["timestamp"]
    assert result == {"p": [{"k": 1}], "properties": {}}


@pytest.mark.parametrize("body", HINTS)
def test_a_server_can(body: bytes) -> None:
    result = stamped(body)
    assert result["JITSU_TABLE_NAME"] == "t"
    assert "__sql_type_a" in result


@pytest.mark.parametrize(
    "head", [b"", b"junk", msgspec.msgpack.encode([2, 5, "server", None, None, None, None])]
)
def test_a_head_that_is_not_ours_is_named(head: bytes) -> None:
    with pytest.raises(UnknownHeadError):
        restore(head, b"{}")


def test_a_head_from_before_the_dialects_is_read() -> None:
    head = msgspec.msgpack.encode([1, RECEIVED_MS, "server", "page", None, None, None, None, None, None])
    event = restore(head, b'{"messageId":"m","event_id":"e"}')
    assert (event["type"], event["messageId"], event["event_id"]) == ("page", "m", "e")
