"""Uploaded files: one event a line, or one array; what is wrong with a line is that line's own."""

import json
import time
from typing import Any

import pytest

from server.ingest import Decoded, Limits, Refusal, RequestFacts, decode_lines, restore, stream_seed

FACTS = RequestFacts(1_772_029_801_250, "server", None, None, None, None, stream_seed("site"))


def decode(content: bytes, **limits: int) -> Decoded | Refusal:
    return decode_lines(content, FACTS, Limits(**limits))


def taken(content: bytes, **limits: int) -> tuple[list[str], list[tuple[int, str]]]:
    decoded = decode(content, **limits)
    assert isinstance(decoded, Decoded), decoded
    assert decoded.received == len(decoded.items) + len(decoded.errors)
    ids = [restore(decoded.head, bytes(item))["messageId"] for item in decoded.items]
    return ids, [(error.index, error.slug) for error in decoded.errors]


@pytest.mark.parametrize(
    "content",
    [
        b'{"event_id":"1"}\n{"event_id":"2"}\n',
        b'{"event_id":"1"}\n{"event_id":"2"}',
        b'{"event_id":"1"}\r\n{"event_id":"2"}\r\n',
        b'\n \n{"event_id":"1"}\n\r\n\n   {"event_id":"2"}\n\n\n',
        b'\x0b\n{"event_id":"1"}\n\x0c \n{"event_id":"2"}',
        b'\xef\xbb\xbf{"event_id":"1"}\n{"event_id":"2"}',
        b'[{"event_id":"1"},\n {"event_id":"2"}]',
        b'\xef\xbb\xbf[{"event_id":"1"},{"event_id":"2","x":NaN}]',
    ],
)
def test_a_file(content: bytes) -> None:
    assert taken(content) == (["1", "2"], [])


def test_a_bad_line_is_named_by_its_number() -> None:
    content = (
        b'{"event_id":"1"}\n\n{"event_id":\n{"event_id":"4"}\n\n\n7\r\n[{"event_id":"8"}]\n{"event_id":"9"}'
    )
    ids, errors = taken(content)
    assert ids == ["1", "4", "9"]
    assert errors == [(3, "bad_json"), (7, "invalid_event"), (8, "invalid_event")]


def test_a_bad_event_of_an_array_is_named_by_its_number() -> None:
    assert taken(b'[{"event_id":"1"},5]') == (["1"], [(2, "invalid_event")])
    assert taken(b'[{"event_id":"1","x":NaN},5]') == (["1"], [(2, "invalid_event")])


def test_lines_that_begin_like_an_array_are_lines() -> None:
    assert taken(b'[1]\n{"event_id":"2"}') == (["2"], [(1, "invalid_event")])


def test_a_line_is_repaired_alone() -> None:
    decoded = decode(b'{"event_id":"1", "x":1}\n{"event_id":"2","x":"\xff"}\n{"event_id":"3","x":NaN}\n')
    assert isinstance(decoded, Decoded)
    assert (len(decoded.items), decoded.repairs) == (3, 2)
    assert bytes(decoded.items[0]) == b'{"event_id":"1", "x":1}'


def test_a_line_over_the_limit_is_refused_alone() -> None:
    content = b'{"event_id":"1"}\n{"event_id":"2","x":"%b"}' % (b"x" * 200)
    assert taken(content, event_bytes_max=100) == (["1"], [(2, "too_large")])


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n", b"[]", b"\xef\xbb\xbf"])
def test_a_file_without_events(content: bytes) -> None:
    refusal = decode(content)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "empty_batch"


@pytest.mark.parametrize("content", [b'{"n":1}\n' * 4, b"[{},{},{},{}]", b"1\n2\n3\n4"])
def test_the_number_of_events_is_bounded(content: bytes) -> None:
    assert not isinstance(decode(content, batch_events_max=4), Refusal)
    refusal = decode(content, batch_events_max=3)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "too_many_events"


HOSTILE: list[Any] = [
    b"\n" * 10_000_000,
    b"\n " * 5_000_000,
    b"\x0b\n" * 5_000_000,
    b" " * 10_000_000,
    b"1\n" * 5_000_000,
    b"[" * 10_000_000,
    b"[" * 2_000 + b'"' + b'\\"' * 4_900_000,
    b"[" * 2_000 + b"]" * 9_000_000,
    b'"' * 10_000_000,
    b"\xff" * 10_000_000,
    b"{" * 2_000 + b'"a":' * 2_000_000,
]


@pytest.mark.parametrize("content", HOSTILE, ids=[str(content[:8]) for content in HOSTILE])
def test_ten_megabytes_of_nothing_take_seconds_at_most(content: bytes) -> None:
    """Anything that is not linear takes minutes here."""
    started_s = time.process_time()
    result = decode(content)
    assert isinstance(result, Refusal) or result.items == []
    assert time.process_time() - started_s < 10


def test_the_lines_of_a_long_file_are_counted_once() -> None:
    content = b"\n".join([b"\n" * 1_000, b"x"] * 2_000)
    decoded = decode(content)
    assert isinstance(decoded, Decoded)
    assert decoded.errors[-1].index == content.count(b"\n") + 1
    assert json.dumps(decoded.errors[0].message)
