"""Layout alone: µs per event, beside what decoding the same bytes costs.

`python -m pytest bench/bench_layout.py -o python_files='bench_*.py'`
"""

from typing import Any, Final

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.delivery.layouts import layout_of
from server.delivery.links import LinkConfig
from server.warehouse import AnyRow

LINK: Final = LinkConfig("link", "site", "pg", 1, "stream")

EVENTS: Final = 1_000

TRACK: Final[dict[str, Any]] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "01936f0e-0000-7000-8000-000000000001",
    "anonymousId": "8d4c2a52-5f2e-4c3b-8f5e-0f6a2f0f7c11",
    "userId": "user-12345",
    "timestamp": "2026-11-21T05:55:56.622Z",
    "receivedAt": "2026-11-21T05:55:57.001Z",
    "sentAt": "2026-11-21T05:55:56.900Z",
    "requestIp": "203.0.113.9",
    "context": {
        "ip": "203.0.113.9",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "locale": "en-US",
        "library": {"name": "analytics.js", "version": "2.11.1"},
        "page": {"path": "/checkout", "title": "Checkout", "url": "https://shop.example.com/checkout"},
        "campaign": {"name": "spring", "source": "mail"},
    },
    "properties": {
        "orderId": "ord-1001",
        "total": 129.9,
        "currency": "EUR",
        "items": 3,
        "coupon": None,
        "firstTime": True,
    },
}
PRODUCTS: Final = [{"productId": n, "unitPrice": 2.5} for n in range(2)]
IDENTIFY: Final[dict[str, Any]] = TRACK | {
    "type": "identify",
    "traits": {"firstName": "Ada", "address": {"city": "Prague"}},
}
WITH_ARRAY: Final[dict[str, Any]] = TRACK | {"properties": {"orderId": 1, "products": PRODUCTS}}


@pytest.mark.parametrize("event", [TRACK, IDENTIFY, WITH_ARRAY], ids=["track", "identify", "array"])
def test_lay_out(benchmark: BenchmarkFixture, event: dict[str, Any]) -> None:
    """The time is of 1,000 events: milliseconds shown = µs per event."""
    layout = layout_of(LINK)

    def run() -> list[AnyRow]:
        rows: list[AnyRow] = []
        for offset in range(EVENTS):
            layout.lay_out(offset, event, rows)
        return rows

    assert len(benchmark(run)) == EVENTS


def test_loads(benchmark: BenchmarkFixture) -> None:
    """The yardstick: orjson.loads of the same event, 1,000 times."""
    data = orjson.dumps(TRACK)
    assert 600 < len(data) < 800

    def run() -> None:
        for _ in range(EVENTS):
            orjson.loads(data)

    benchmark(run)
