"""Bodies that are not strict JSON, as real SDKs send them: put right, counted, not refused."""

import base64
import json
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any

import msgspec
import pytest

from server.ingest import (
    PATH_TYPES,
    Decoded,
    Limits,
    RequestFacts,
    decode_batch,
    decode_event,
    inflate,
    restore,
    stream_seed,
)
from server.warehouse.types import to_text

RECORDED = [
    json.loads(line) for line in (Path(__file__).parent / "data" / "recorded.jsonl").read_text().splitlines()
]
LIMITS = Limits()
LONG = b"7" * 4_300


def facts(path_type: str | None = None) -> RequestFacts:
    return RequestFacts(1_772_029_801_250, "server", path_type, None, None, None, stream_seed("site"))


def repaired(body: bytes) -> tuple[dict[str, Any], int]:
    decoded = decode_event(body, facts(), LIMITS)
    assert isinstance(decoded, Decoded), decoded
    item = bytes(decoded.items[0])
    json.loads(item, parse_constant=pytest.fail, parse_int=str)
    return restore(decoded.head, item), decoded.repairs


CASES = [
    (b'{"type":"page","x":NaN}', None, 1),
    (b'{"type":"page","x":[Infinity,-Infinity,1]}', [None, None, 1], 2),
    (b'{"type":"page","x":"\\ud83d"}', "\ufffd", 1),
    (b'{"type":"page","x":"a\\ude00\\ud83dz"}', "a\ufffd\ufffdz", 1),
    (b'{"type":"page","x":{"\\ud83d":"\\ud83d\\ude00"}}', {"\ufffd": "\U0001f600"}, 1),
    (b'{"type":"page","x":"a\xffz"}', "a\ufffdz", 1),
    (b'{"type":"page","x":"\xed\xa0\x80"}', "\ufffd\ufffd\ufffd", 1),
    (b'\xef\xbb\xbf{"type":"page","x":1}', 1, 1),
    (b'{"type":"page","x":"a\nb\x01"}', "a\nb\x01", 1),
    (b'{"type":"page","x":[NaN,"a\nb"],"\x01":"\n"}', [None, "a\nb"], 2),
    (b'{\n"type":"page",\t"x":NaN\r\n}', None, 1),
    (b'{"type":"page","x":"\\u0000"}', "\0", 0),
    (b'{"type":"page","x":18446744073709551616}', 2**64, 0),
    (b'{"type":"page","x":18446744073709551616,"y":NaN}', 2**64, 1),
    (b'{"type":"page","x":1e999,"y":NaN}', None, 2),
    (b'{"type":"page","x":-0.0,"y":NaN}', -0.0, 1),
    (b'{"type":"page","x":' + b"9" * 5000 + b',"y":NaN}', "9" * 5000, 2),
    (b'{"type":"page","x":-' + b"9" * 310 + b',"y":NaN}', "-" + "9" * 310, 2),
    (b'{"type":"page","x":-' + b"9" * 309 + b',"y":NaN}', -int("9" * 309), 1),
    (b'{"type":"page","x":"' + b"9" * 900 + b'","z":5,"y":NaN}', "9" * 900, 1),
]


@pytest.mark.parametrize(("body", "value", "repairs"), CASES, ids=[str(case[0][:50]) for case in CASES])
def test_a_repair(body: bytes, value: object, repairs: int) -> None:
    event, counted = repaired(body)
    assert event["x"] == value
    assert counted == repairs


@pytest.mark.parametrize("digits", [b"1e999", b"-1e999", b"1" * 400 + b".5"])
def test_a_number_out_of_range_in_a_strict_body_becomes_null_when_restored(digits: bytes) -> None:
    event, _ = repaired(b'{"type":"page","messageId":"m","x":%b}' % digits)
    assert event["x"] is None


def test_a_huge_integer_in_a_strict_body_keeps_its_digits() -> None:
    event, _ = repaired(b'{"type":"page","x":' + b"7" * 5000 + b"}")
    assert event["x"] == "7" * 5000


@pytest.mark.parametrize("digits", [1, 18, 310, 311, 4_000, 4_300, 4_301])
def test_an_integer_of_a_repaired_body_is_delivered_with_all_its_digits(digits: int) -> None:
    event, _ = repaired(b'{"type":"page","x":-%b,"y":NaN}' % (b"7" * digits))
    assert to_text(event["x"]) == "-" + "7" * digits


def test_long_integers_in_a_repaired_body_cost_no_more_than_other_text() -> None:
    """As numbers they would cost the square of their digits, three times: twenty times as much."""
    bodies = [
        b'{"type":"page","y":NaN,"x":[%b]}' % b",".join([item] * 500) for item in (LONG, b'"%b"' % LONG)
    ]
    limits = Limits(event_bytes_max=5_000_000)
    seconds = [
        min(_seconds(partial(decode_event, body, facts(), limits)) for _ in range(3)) for body in bodies
    ]
    assert seconds[0] < 6 * seconds[1]


def _seconds(call: Callable[[], object]) -> float:
    start = thread_time()
    call()
    return thread_time() - start


@pytest.mark.parametrize(
    ("field", "sent", "kept"),
    [
        ("userId", b"12", "12"),
        ("userId", b"18446744073709551616", "18446744073709551616"),
        ("anonymousId", b"1.5", "1.5"),
        ("groupId", b"0", "0"),
        ("previousId", b"-3", "-3"),
        ("messageId", b"99", "99"),
    ],
)
def test_a_numeric_id_becomes_text(field: str, sent: bytes, kept: str) -> None:
    event, repairs = repaired(b'{"type":"page","%b":%b}' % (field.encode(), sent))
    assert event[field] == kept
    assert repairs == 1


@pytest.mark.parametrize("message_id", [b"null", b'""', b'"","e":1e999'])
def test_a_message_id_that_says_nothing_is_replaced(message_id: bytes) -> None:
    event, repairs = repaired(b'{"type":"page","messageId":%b}' % message_id)
    assert len(event["messageId"]) == 36
    assert repairs >= 1


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"\\"]":', b"}]")])
@pytest.mark.parametrize("depth", [*range(150, 1100, 7), 5_000, 100_000])
def test_deep_nesting_is_taken_and_bounded_or_refused(opening: bytes, closing: bytes, depth: int) -> None:
    body = b'{"type":"page","x":%b1%b}' % (opening * depth, closing * depth)
    decoded = decode_event(body, facts(), LIMITS)
    if isinstance(decoded, Decoded):
        event = restore(decoded.head, bytes(decoded.items[0]))
        assert _depth(event) <= 200
    else:
        assert depth > 300
        assert decoded.slug in ("bad_json", "too_large")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
    return depth


def test_what_is_nested_too_deeply_becomes_its_own_text() -> None:
    inner = b'["]",{"k":"v\\""}]'
    event, _ = repaired(b'{"type":"page","x":%b%b%b,"y":2}' % (b"[" * 199, inner, b"]" * 199))
    value = event["x"]
    for _ in range(199):
        value = value[0]
    assert json.loads(value) == ["]", {"k": 'v"'}]
    assert event["y"] == 2


@pytest.mark.parametrize(
    "row", RECORDED, ids=[f"{row['sdk']}-{row['scenario']}-{at}" for at, row in enumerate(RECORDED)]
)
def test_recorded_traffic_is_accepted(row: dict[str, Any]) -> None:
    body = base64.b64decode(row["body_b64"])
    if row["encoding"] == "gzip":
        plain = inflate(body, 1_000_000)
        assert plain == zlib.decompress(body, 31)
        body = zlib.decompress(body, 31)
    path = row["path"].partition("?")[0]
    name = path.rsplit("/", 1)[-1]
    decoded = (
        decode_batch(body, facts(), LIMITS)
        if name == "batch"
        else decode_event(body, facts(PATH_TYPES[name]), LIMITS)
    )
    assert isinstance(decoded, Decoded), decoded
    assert decoded.errors == []
    for item in decoded.items:
        assert msgspec.json.decode(item)
        event = restore(decoded.head, bytes(item))
        assert event["type"]
        assert event["messageId"]
        assert event["timestamp"] != event["receivedAt"]
