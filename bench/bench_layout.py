"""Layout alone: µs per event, beside what decoding the same bytes costs.

`python -m pytest bench/bench_layout.py -o python_files='bench_*.py'`; `python -m bench.bench_layout` prints
each layout's time per row over that of segment-single-table.
"""

import time
from dataclasses import replace
from typing import Any, Final, get_args

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from server.delivery.layouts import AnyLayout, layout_of
from server.delivery.links import LinkConfig
from server.delivery.stamps import LayoutName
from server.warehouse import AnyRow

LINK: Final = LinkConfig("link", "site", "pg", 1, "stream")

EVENTS: Final = 1_000
ROUNDS: Final = 60

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


EVENTS_OF: Final = {"track": TRACK, "identify": IDENTIFY, "array": WITH_ARRAY}
LAYOUTS: Final = get_args(LayoutName)


def lay_out_all(layout: AnyLayout, event: dict[str, Any]) -> list[AnyRow]:
    """The rows of EVENTS such events."""
    rows: list[AnyRow] = []
    for offset in range(EVENTS):
        layout.lay_out(offset, event, rows)
    return rows


@pytest.mark.parametrize("kind", EVENTS_OF)
@pytest.mark.parametrize("name", LAYOUTS)
def test_lay_out(benchmark: BenchmarkFixture, name: LayoutName, kind: str) -> None:
    """The time is of 1,000 events: milliseconds shown = µs per event."""
    layout = layout_of(replace(LINK, layout=name))
    assert len(benchmark(lay_out_all, layout, EVENTS_OF[kind])) >= EVENTS


def test_loads(benchmark: BenchmarkFixture) -> None:
    """The yardstick: orjson.loads of the same event, 1,000 times."""
    data = orjson.dumps(TRACK)
    assert 600 < len(data) < 800

    def run() -> None:
        for _ in range(EVENTS):
            orjson.loads(data)

    benchmark(run)


def ratios() -> None:
    """The layouts by turns, so that the ratios to segment-single-table hold where the times do not."""
    for kind, event in EVENTS_OF.items():
        layouts = {name: layout_of(replace(LINK, layout=name)) for name in LAYOUTS}
        best = dict.fromkeys(LAYOUTS, float("inf"))
        rows = dict.fromkeys(LAYOUTS, 0)
        for _ in range(ROUNDS):
            for name, layout in layouts.items():
                began_s = time.perf_counter()
                rows[name] = len(lay_out_all(layout, event))
                best[name] = min(best[name], time.perf_counter() - began_s)
        for name in LAYOUTS:
            per_row_us = best[name] / rows[name] * 1e6
            ratio = per_row_us / (best[LAYOUTS[0]] / rows[LAYOUTS[0]] * 1e6)
            print(f"{kind:9} {name:21} {per_row_us:6.2f} µs/row {ratio:6.2f}")


if __name__ == "__main__":
    ratios()
