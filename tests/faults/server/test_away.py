"""A destination that is away, at the start or for good: events are taken and kept, other links go on."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import FaultProxy
from tests.faults.server.conftest import StartFunction
from tests.running import Sender, datasource, delivered, eventually, track


async def test_a_destination_that_is_down_at_the_start(make_server: StartFunction, database: str) -> None:
    parts = urlsplit(database)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        proxy.refuse()
        through = parts._replace(netloc=f"{parts.username}:{parts.password or ''}@127.0.0.1:{proxy.port}")
        server = await asyncio.to_thread(make_server(through.geturl()).start)
        await asyncio.wait_for(proxy.refused.wait(), 20)
        sender = Sender(server.port)
        await sender.send(f"d{i}" for i in range(500))
        ready = await asyncio.to_thread(server.request, "GET", "/ready")
        health = await asyncio.to_thread(server.request, "GET", "/health")
        assert (ready.status, health.status) == (200, 200)
        assert await asyncio.to_thread(server.metric, "penstock_link_backlog_events") == 500
        proxy.refuse(on=False)
        await asyncio.to_thread(server.drained)
    assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
    assert await asyncio.to_thread(server.stop) == 0


@contextmanager
def _dead_end(*, listening: bool) -> Iterator[str]:
    """URL of a Postgres that refuses connections, or one that takes them and never says a word."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if listening:
            place.listen()
        yield f"postgresql://nobody@127.0.0.1:{place.getsockname()[1]}/nowhere"


@pytest.mark.parametrize("listening", [False, True], ids=["refuses", "silent"])
async def test_a_dead_destination_slows_no_other_link(
    make_server: StartFunction, database: str, listening: bool
) -> None:
    with _dead_end(listening=listening) as url:
        server = make_server(database, delivery={"stop_timeout_s": 1.0})
        server.conf["destinations"]["dead"] = {"type": "postgres", "datasource": datasource(url)}
        server.conf["links"]["dead-link"] = {"from": "site", "to": "dead", "data": {"mode": "stream"}}
        await asyncio.to_thread(server.start)
        sender = Sender(server.port)
        backlog = lambda link: server.metric("penstock_link_backlog_events", f'link="{link}"')  # noqa: E731
        for burst in range(5):
            await sender.send(f"{burst}-{i}" for i in range(200))
            through = lambda: backlog("site-warehouse") == 0  # noqa: E731
            await asyncio.to_thread(eventually, through, "the living link is through", 3)
        assert await asyncio.to_thread(backlog, "dead-link") == 1_000
        assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
        assert await asyncio.to_thread(server.stop) == 0


def test_a_link_that_is_too_far_behind_closes_its_own_stream_only(make_server: StartFunction) -> None:
    with _dead_end(listening=False) as url:
        quota = {"backlog_bytes_max": 20_000, "backoff_max_s": 0.5}
        server = make_server(url, delivery=quota, streams={"other": {"server_keys": ["other:key"]}}).start()
        for number in range(20):
            server.post("/v1/track", track(f"q{number}", text="x" * 2_000))
        closed = lambda: (a := server.post("/v1/track", track("late"))).status == 503 and a  # noqa: E731
        refused = eventually(closed, "the stream is closed")
        assert refused.json["code"] == "backlog_full"
        assert int(refused.headers["retry-after"]) >= 1
        assert server.post("/v1/track", track("free"), "other:key").status == 200
        assert server.request("GET", "/ready").status == 200
        assert server.stop() == 0
