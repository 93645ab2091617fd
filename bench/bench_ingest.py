"""Ingest alone: decoding in each family, restoring; beside `orjson.loads` and beside Segment's batch.

`python -m pytest bench/bench_ingest.py -o python_files='bench_*.py'`; or `python -m bench.bench_ingest`
for the ratios, taken in turns in one run, so that they hold where the times do not.

`FAMILIES` is what "each family within 1.3 of the plain Segment batch" means: the same number of events in a
request (a batch of one beside a single event, so that both pay for one head), each event of 645 bytes, all
with an id or all without. It prints every ratio and ends with status 1 if one is beyond.
"""

import base64
import statistics
import sys
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.ingest import (
    Decoded,
    Limits,
    RequestFacts,
    decode_batch,
    decode_classic,
    decode_event,
    decode_lines,
    pixel_event,
    restore,
    restorer,
    stream_seed,
)

BATCH: Final = 100
ROUNDS: Final = 15
LIMITS: Final = Limits()
RATIO_MAX: Final = 1.3
EVENT_BYTES: Final = 645
# One second after the events below were sent.
RECEIVED_MS: Final = 1_772_029_801_000


def track_event(at: int) -> dict[str, Any]:
    """A track call of a shop, 645 bytes as JSON."""
    page = "https://shop.example.com"
    return {
        "type": "track",
        "event": "Product Added",
        "messageId": f"a1b2c3d4-e5f6-7890-abcd-{at:012}",
        "userId": "user_1",
        "anonymousId": "anon-12345",
        "timestamp": "2026-02-25T14:30:00.000Z",
        "sentAt": "2026-02-25T14:30:00.000Z",
        "properties": {
            "product_id": "SKU-1234",
            "name": "Wireless Headphones",
            "price": 79.99,
            "currency": "USD",
            "quantity": 1,
            "tags": ["a", "b"],
        },
        "context": {
            "page": {
                "url": f"{page}/products/headphones",
                "title": "Wireless Headphones | Shop",
                "referrer": f"{page}/category/audio",
            },
            "userAgent": "Mozilla/5.0 (Macintosh; Intel) AppleWebKit",
            "locale": "en-US",
            "timezone": "America/New_York",
            "library": {"name": "x", "version": "1"},
        },
    }


def classic_event(at: int, event_id: str | None = None) -> dict[str, Any]:
    """A page view as Jitsu Classic's browser SDK words it, 645 bytes as JSON."""
    event = {
        "event_id": f"{at:012}" if event_id is None else event_id,
        "user": {"anonymous_id": "anon-12345", "id": "user_1", "email": "jana@example.com"},
        "ids": {},
        "utc_time": "2026-02-25T14:30:00.000000Z",
        "local_tz_offset": -60,
        "referer": "https://shop.example.com/category/audio",
        "url": "https://shop.example.com/products/headphones",
        "page_title": "Wireless Headphones | Shop",
        "doc_host": "shop.example.com",
        "user_agent": "Mozilla/5.0 (Macintosh; Intel) AppleWebKit",
        "utm": {},
        "click_id": {},
        "api_key": "k",
        "src": "jitsu",
        "event_type": "page_view",
        "note": "",
    }
    event["note"] = "x" * (EVENT_BYTES - len(orjson.dumps(event)))
    return event


def facts(kind: Any) -> RequestFacts:
    """A request from one address."""
    return RequestFacts(RECEIVED_MS, kind, None, "203.0.113.9", "Mozilla/5.0", "en-US", stream_seed("site"))


EVENT: Final = orjson.dumps(track_event(0))
BODY: Final = orjson.dumps({"batch": [track_event(at) for at in range(BATCH)], "writeKey": "k"})


def head_of(kind: Any) -> bytes:
    """The head of a request with `EVENT`."""
    decoded = decode_event(EVENT, facts(kind), LIMITS)
    assert isinstance(decoded, Decoded)
    return decoded.head


SERVER: Final = facts("server")
SERVER_HEAD: Final = head_of("server")
BROWSER_HEAD: Final = head_of("browser")
CLASSIC_EVENT: Final = orjson.dumps(classic_event(0))
_CLASSIC_DECODED: Final = decode_classic(CLASSIC_EVENT, SERVER, LIMITS)
assert isinstance(_CLASSIC_DECODED, Decoded)
CLASSIC_HEAD: Final = _CLASSIC_DECODED.head

CLASSIC: Final = [classic_event(at) for at in range(BATCH)]
NAMELESS: Final = [classic_event(at, "") for at in range(BATCH)]
LINES: Final = b"\n".join(map(orjson.dumps, CLASSIC))
TEMPLATE: Final = {"template": {"api_key": "k", "src": "jitsu"}, "events": CLASSIC}
PIXEL: Final = "wk=k&data=" + base64.urlsafe_b64encode(EVENT).decode()
TRACKS: Final = [track_event(at) for at in range(BATCH)]
TRACK: Final = RequestFacts(RECEIVED_MS, "server", "track", "203.0.113.9", None, None, stream_seed("site"))


def decode_pixel() -> object:
    """What a pixel request costs: its query to an event, and that event."""
    body = pixel_event("segment", "track", PIXEL)
    assert isinstance(body, bytes)
    return decode_event(body, TRACK, LIMITS)


def runs(decode: Any, body: bytes, facts: RequestFacts = SERVER) -> Callable[[], object]:
    """Decoding `body`, which must be accepted whole."""
    decoded = decode(body, facts, LIMITS)
    assert isinstance(decoded, Decoded)
    assert not decoded.errors
    return partial(decode, body, facts, LIMITS)


def segment(events: list[dict[str, Any]]) -> Callable[[], object]:
    """Decoding Segment's batch of them."""
    return runs(decode_batch, orjson.dumps({"batch": events, "writeKey": "k"}))


SEGMENT_1: Final = segment(TRACKS[:1])
SEGMENT_100: Final = segment(TRACKS)
SEGMENT_NAMELESS: Final = segment(
    [{key: value for key, value in event.items() if key != "messageId"} for event in TRACKS]
)

# Name → what runs, how many events it handles, and the bytes that orjson.loads is given for comparison.
Case = tuple[Callable[[], object], int, bytes]
CASES: Final[dict[str, Case]] = {
    "decode_event": (runs(decode_event, EVENT), 1, EVENT),
    "decode_batch": (runs(decode_batch, BODY), BATCH, BODY),
    "restore server": (lambda: restore(SERVER_HEAD, EVENT), 1, EVENT),
    "restore browser": (lambda: restore(BROWSER_HEAD, EVENT), 1, EVENT),
    "restorer server": (partial(restorer(SERVER_HEAD), EVENT), 1, EVENT),
    "restorer browser": (partial(restorer(BROWSER_HEAD), EVENT), 1, EVENT),
    "restorer classic": (partial(restorer(CLASSIC_HEAD), CLASSIC_EVENT), 1, CLASSIC_EVENT),
}
# Name → what runs, how many events it handles, Segment's batch beside which it stands.
FAMILIES: Final[dict[str, tuple[Callable[[], object], int, Callable[[], object]]]] = {
    "jitsu single": (runs(decode_event, EVENT, TRACK), 1, SEGMENT_1),
    "segment single": (runs(decode_event, EVENT), 1, SEGMENT_1),
    "array of 1": (runs(decode_batch, orjson.dumps(TRACKS[:1])), 1, SEGMENT_1),
    "array of 100": (runs(decode_batch, orjson.dumps(TRACKS)), BATCH, SEGMENT_100),
    "array of 100, /v1/t": (runs(decode_event, orjson.dumps(TRACKS), TRACK), BATCH, SEGMENT_100),
    "classic single": (runs(decode_classic, CLASSIC_EVENT), 1, SEGMENT_1),
    "classic array of 1": (runs(decode_classic, orjson.dumps(CLASSIC[:1])), 1, SEGMENT_1),
    "classic array of 100": (runs(decode_classic, orjson.dumps(CLASSIC)), BATCH, SEGMENT_100),
    "the same without ids": (runs(decode_classic, orjson.dumps(NAMELESS)), BATCH, SEGMENT_NAMELESS),
    "classic template": (runs(decode_classic, orjson.dumps(TEMPLATE)), BATCH, SEGMENT_100),
    "bulk lines": (runs(decode_lines, LINES), BATCH, SEGMENT_100),
    "pixel": (decode_pixel, 1, SEGMENT_1),
}


@pytest.mark.parametrize("name", CASES)
def test_ingest(benchmark: BenchmarkFixture, name: str) -> None:
    run, events, _ = CASES[name]
    benchmark.extra_info["events"] = events
    benchmark(run)


@pytest.mark.parametrize("body", [EVENT, BODY], ids=["event", "batch"])
def test_orjson_loads(benchmark: BenchmarkFixture, body: bytes) -> None:
    benchmark(orjson.loads, body)


@pytest.mark.parametrize("name", FAMILIES)
def test_family(benchmark: BenchmarkFixture, name: str) -> None:
    run, events, _ = FAMILIES[name]
    benchmark.extra_info["events"] = events
    benchmark(run)


def compare(run: Callable[[], object], baseline: Callable[[], object], events: int) -> tuple[float, float]:
    """µs per event, and the ratio to `baseline`: medians of interleaved rounds."""
    number = 20_000 // events
    pairs = [
        (timeit.timeit(run, number=number), timeit.timeit(baseline, number=number)) for _ in range(ROUNDS)
    ]
    event_us = statistics.median(time for time, _ in pairs) / number / events * 1e6
    return event_us, statistics.median(time / beside for time, beside in pairs)


def main() -> int:
    """Prints every case; 1 if a family is beyond `RATIO_MAX`."""
    for name, (run, events, body) in CASES.items():
        event_us, ratio = compare(run, partial(orjson.loads, body), events)
        print(f"{name:20} {event_us:6.2f} µs per event = {ratio:.2f} x orjson.loads")
    beyond = False
    for name, (run, events, beside) in FAMILIES.items():
        event_us, ratio = compare(run, beside, events)
        print(f"{name:20} {event_us:6.2f} µs per event = {ratio:.2f} x Segment's batch of {events}")
        beyond = beyond or ratio > RATIO_MAX
    return int(beyond)


if __name__ == "__main__":
    sys.exit(main())
