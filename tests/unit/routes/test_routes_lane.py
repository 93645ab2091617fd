"""The lane when its own code fails: the client is told so, the log says why, and nothing stays reserved."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import yaml

from server.app import ingest_routes
from server.clock import SystemClock
from server.counters import IngestCounters
from server.inbound import Inbound
from server.routes.body import Bodies
from server.routes.lane import IngestLane
from server.settings import load
from server.translation.ingest import body_limits
from storage import Store, StoreOptions
from tests.running import SERVER_KEY, configuration
from tests.unit.routes.headers import Headers


class _Request:
    """A request and its transport, as Granian would give them."""

    def __init__(self) -> None:
        self.headers = Headers({"x-write-key": SERVER_KEY, "content-length": "2"})
        self.scope: Any = SimpleNamespace(
            method="POST", path="/v1/track", query_string="", client="127.0.0.1:1", headers=self.headers
        )
        self.answer: tuple[int, Any] | None = None

    def __call__(self) -> "asyncio.Future[bytes]":
        reading: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        reading.set_result(b"{}")
        return reading

    def response_bytes(self, status: int, _headers: object, body: bytes) -> None:
        self.answer = status, json.loads(body)["code"]


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[tuple[IngestLane, Bodies, IngestCounters]]:
    path = tmp_path / "penstock.yaml"
    path.write_text(yaml.safe_dump(configuration(1, tmp_path / "data", None)))
    config, counters, clock = load(path, {}, {}), IngestCounters(), SystemClock()
    store = Store.open(config.data_dir, StoreOptions(free_bytes_min=0), clock)
    bodies = Bodies(body_limits(config), counters)
    yield Inbound(config, store.wal, {}, bodies, counters, clock, b"digest").lane, bodies, counters
    await asyncio.to_thread(store.close)


def _fails(*_: object) -> NoReturn:
    raise KeyError("the inside")


@pytest.mark.parametrize("plain", [True, False])
async def test_a_defect_is_answered_and_logged(
    lane: tuple[IngestLane, Bodies, IngestCounters], plain: bool, caplog: pytest.LogCaptureFixture
) -> None:
    taker, bodies, counters = lane
    route = replace(ingest_routes()["/v1/track"], decode=_fails)
    request: Any = _Request()
    if plain:
        ended = asyncio.Event()

        def arrived(reading: Any) -> None:
            taker.arrived(route, request.scope, request.headers, request, 2, reading)
            ended.set()

        assert bodies.begin(request, 2, 0.0, arrived)
        await asyncio.wait_for(ended.wait(), 5)
    else:
        await taker.handle(route, request.scope, request)
    assert request.answer == (500, "internal")
    assert counters.in_flight_bytes == 0
    assert "the inside" in caplog.text
