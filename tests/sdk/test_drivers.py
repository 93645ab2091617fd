"""Unmodified SDKs against a real server: every event arrives once, on calm days, and through a 429, a 503 and
a kill -9 in the middle for those that resend. Their recordings say which events a scenario has.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest

from tests.contract.traffic.recordings import recorded
from tests.contract.traffic.reference import told
from tests.running import Penstock, configuration, datasource, eventually, free_port, rows, running, track
from tests.sdk.live import SDKS, Driver, Sdk

pytestmark = pytest.mark.long

_FILLING_KEY = "filling:key"
_TELLING = ("type", "event", "user_id", "group_id", "previous_id", "i", "product_id", "order_id")
Telling = Counter[tuple[str, ...]]


@pytest.fixture(params=SDKS, ids=lambda sdk: sdk.name)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    chosen: Sdk = request.param
    if (lacking := chosen.lacking()) is not None:
        pytest.skip(f"{chosen.name}: {lacking}")
    return chosen


@contextmanager
def _driving(sdk: Sdk, server: Penstock, page_port: int, scenario: str, stays_ms: int) -> Iterator[Driver]:
    driver = sdk.start(server.port, page_port, scenario, server.folder / f"{scenario}.log", stays_ms)
    try:
        yield driver
    finally:
        driver.kill()


def _sent(sdk: Sdk, *scenarios: str) -> Telling:
    """What the drivers say in those scenarios, by the recording."""
    events = told(request for request in recorded(sdk.name) if request.scenario in scenarios)
    return Counter(tuple(str(event.row.get(name)) for name in _TELLING) for event in events)


def _arrived(database: str) -> Telling:
    found = rows(database, "SELECT * FROM events WHERE event IS DISTINCT FROM 'Filling'")
    return Counter(tuple(str(row.get(name)) for name in _TELLING) for row in found)


def test_every_event_arrives_once(sdk: Sdk, tmp_path: Path, database: str) -> None:
    page_port = free_port()
    conf = configuration(free_port(), tmp_path / "data", database)
    conf["streams"]["site"] = _stream(sdk, page_port)
    with running(Penstock(tmp_path, conf)) as server:
        for scenario in sdk.scenarios:
            with _driving(sdk, server, page_port, scenario, 3_500) as driver:
                driver.finish()
        server.drained()
    assert _arrived(database) == _sent(sdk, *sdk.scenarios)


def test_through_429_503_and_a_restart(sdk: Sdk, tmp_path: Path, database: str) -> None:
    page_port = free_port()
    scenario = "batch" if "batch" in sdk.scenarios else "types"
    stays_ms = 30_000 if sdk.insists else 3_500
    with running(Penstock(tmp_path, _troubled(sdk, tmp_path, page_port))) as server, ExitStack() as driving:
        with _Hog(server, sdk.key) as hog:
            driver = driving.enter_context(_driving(sdk, server, page_port, scenario, stays_ms))
            eventually(hog.has_made_others_wait, "the SDK meets a 429")
            ours = _fill(server)
        if sdk.insists:
            eventually(lambda: _refused(server, "backlog_full") > ours, "the SDK meets a 503")
        server.kill()
        server.conf["destinations"]["warehouse"]["datasource"] = datasource(database)
        server.conf["streams"]["site"] |= _stream(sdk, page_port)
        server.start()
        driver.finish()
        server.drained()
    sent, arrived = _sent(sdk, scenario), _arrived(database)
    assert arrived == sent if sdk.insists else arrived <= sent


def _stream(sdk: Sdk, page_port: int) -> dict[str, object]:
    """A stream with the key that the drivers of that SDK use."""
    unlimited: dict[str, object] = {"rate_limit": {}, "server_rate_limit": None}
    if sdk.is_browser:
        return unlimited | {"browser_keys": [sdk.key], "origins": [f"http://localhost:{page_port}"]}
    return unlimited | {"server_keys": [sdk.key]}


def _troubled(sdk: Sdk, folder: Path, page_port: int) -> dict[str, Any]:
    """A server whose keys may send little and whose Postgres is away, so that its stream can be filled."""
    conf = configuration(free_port(), folder / "data", f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere")
    limit = {"events_per_second": 5, "burst": 5}
    stream = _stream(sdk, page_port) | {"rate_limit": limit, "server_rate_limit": limit}
    stream["server_keys"] = [_FILLING_KEY, *([] if sdk.is_browser else [sdk.key])]
    conf["streams"]["site"] = stream
    conf["delivery"]["backlog_bytes_max"] = 500_000
    return conf


def _refused(server: Penstock, reason: str) -> float:
    return server.metric("penstock_refused_total", reason)


def _filling(number: int, **properties: object) -> dict[str, object]:
    return track(f"filling-{number}", **properties) | {"event": "Filling"}


def _fill(server: Penstock) -> int:
    """Close the stream: its link is too far behind. Gives how many 503 were ours."""
    numbers = count(1_000_000)

    def is_closed() -> bool:
        event = _filling(next(numbers), text="x" * 600_000)
        return server.post("/v1/track", event, _FILLING_KEY).status == 503

    eventually(is_closed, "the stream is closed")
    return 1


class _Hog:
    """Takes whatever the limit of a key lets through, from when it is entered until it is left."""

    def __init__(self, server: Penstock, key: str) -> None:
        self._server = server
        self._key = key
        self._refused = 0
        self._asking = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def has_made_others_wait(self) -> bool:
        """Whether someone else was answered 429."""
        with self._asking:
            return _refused(self._server, "rate_limited") > self._refused

    def _run(self) -> None:
        for number in count():
            with self._asking:
                answer = self._server.post("/v1/track", _filling(number), self._key)
                self._refused += answer.status == 429
            if self._ended.wait(0.005):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._refused, "the limit of the key is reached")
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
