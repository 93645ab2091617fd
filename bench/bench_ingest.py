"""Ingest alone, beside `orjson.loads` of the same bytes: decoding an event and a batch of 100, restoring.

`python -m pytest bench/bench_ingest.py -o python_files='bench_*.py'`; or `python -m bench.bench_ingest`
for the ratios, taken in turns in one run, so that they hold where the times do not.
"""

import statistics
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
    decode_event,
    restore,
    restorer,
    stream_seed,
)

BATCH: Final = 100
ROUNDS: Final = 15
LIMITS: Final = Limits()
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

# Name → what runs, how many events it handles, and the bytes that orjson.loads is given for comparison.
CASES: Final[dict[str, tuple[Callable[[], object], int, bytes]]] = {
    "decode_event": (lambda: decode_event(EVENT, SERVER, LIMITS), 1, EVENT),
    "decode_batch": (lambda: decode_batch(BODY, SERVER, LIMITS), BATCH, BODY),
    "restore server": (lambda: restore(SERVER_HEAD, EVENT), 1, EVENT),
    "restore browser": (lambda: restore(BROWSER_HEAD, EVENT), 1, EVENT),
    "restorer server": (partial(restorer(SERVER_HEAD), EVENT), 1, EVENT),
    "restorer browser": (partial(restorer(BROWSER_HEAD), EVENT), 1, EVENT),
}


@pytest.mark.parametrize("name", CASES)
def test_ingest(benchmark: BenchmarkFixture, name: str) -> None:
    run, events, _ = CASES[name]
    benchmark.extra_info["events"] = events
    benchmark(run)


@pytest.mark.parametrize("body", [EVENT, BODY], ids=["event", "batch"])
def test_orjson_loads(benchmark: BenchmarkFixture, body: bytes) -> None:
    benchmark(orjson.loads, body)


def main() -> None:
    """Prints µs per event and the ratio to `orjson.loads`, the medians of interleaved rounds."""
    for name, (run, events, body) in CASES.items():
        number = 20_000 // events
        pairs = [
            (
                timeit.timeit(run, number=number),
                timeit.timeit(partial(orjson.loads, body), number=number),
            )
            for _ in range(ROUNDS)
        ]
        event_us = statistics.median(time for time, _ in pairs) / number / events * 1e6
        ratio = statistics.median(time / baseline for time, baseline in pairs)
        print(f"{name:18} {event_us:6.2f} µs per event = {ratio:.2f} x orjson.loads")


if __name__ == "__main__":
    main()
