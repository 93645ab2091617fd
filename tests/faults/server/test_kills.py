"""Processes die at any moment; every acknowledged event is in Postgres exactly once afterwards."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.embedded import EmbeddedPostgres
from tests.faults.server.conftest import StartFunction
from tests.running import Penstock, Sender, delivered, endless, eventually

_SMALL = {"limits": {"body_bytes_max": 1_000_000}, "store": {"segment_bytes": 4 * 1024 * 1024}}


@asynccontextmanager
async def _load(server: Penstock, prefix: str) -> AsyncIterator[Sender]:
    """Small batches on many connections without end, until the block is left; all are acknowledged then."""
    sender = Sender(server.port, workers=8, batch=5)
    sending = asyncio.create_task(sender.send(endless(prefix)))
    try:
        yield sender
        sender.finish()
        await asyncio.wait_for(sending, 60)
    finally:
        sending.cancel()


async def _grown(sender: Sender, events: int) -> None:
    """Wait until that many more events were acknowledged."""
    least = len(sender.acknowledged) + events
    what = f"{events} more events are acknowledged"
    await asyncio.to_thread(eventually, lambda: len(sender.acknowledged) >= least, what)


async def _exactly_once(server: Penstock, sender: Sender, url: str) -> None:
    await asyncio.to_thread(server.drained)
    assert sorted(await asyncio.to_thread(delivered, url)) == sorted(sender.acknowledged)


async def test_kill_9_of_the_server_under_load(make_server: StartFunction, database: str) -> None:
    server = await asyncio.to_thread(make_server(database).start)
    chance = random.Random(20261121)
    async with _load(server, "k") as sender:
        for _ in range(5):
            await _grown(sender, chance.randrange(20, 2_000))
            await asyncio.to_thread(server.kill)
            server.spawn()  # and once more, at any moment of its start
            await asyncio.to_thread(server.ended_within, chance.uniform(0.1, 0.6))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await _grown(sender, 500)
    assert sender.cuts >= 5
    await _exactly_once(server, sender, database)
    assert await asyncio.to_thread(server.stop) == 0


async def test_kill_9_while_segments_rotate(make_server: StartFunction, database: str) -> None:
    server = await asyncio.to_thread(make_server(database, **_SMALL).start)
    chance = random.Random(4)
    async with _load(server, "s") as sender:
        for _ in range(4):
            segments = await asyncio.to_thread(server.metric, "penstock_wal_segments")
            more = segments + chance.randrange(1, 4)
            rotated = lambda least=more: server.metric("penstock_wal_segments") >= least  # noqa: E731
            await asyncio.to_thread(eventually, rotated, "segments were rotated")
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
    assert await asyncio.to_thread(server.metric, "penstock_wal_segments_missing") == 0
    assert await asyncio.to_thread(server.metric, "penstock_wal_holes") == 0
    await _exactly_once(server, sender, database)
    assert await asyncio.to_thread(server.stop) == 0


async def test_immediate_stop_of_postgres_under_load(make_server: StartFunction, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    address = await asyncio.to_thread(postgres.start)
    try:
        server = await asyncio.to_thread(make_server(address.url).start)
        async with _load(server, "p") as sender:
            for _ in range(3):
                await _grown(sender, 500)
                os.kill(_postmaster(postgres), signal.SIGQUIT)  # what pg_ctl stop -m immediate sends
                await asyncio.to_thread(eventually, postgres.ensure, "Postgres runs again", 60)
        await _exactly_once(server, sender, address.url)
        assert "link site-warehouse: " in server.log, "no flush met a Postgres that was away"
        assert await asyncio.to_thread(server.stop) == 0
    finally:
        await asyncio.to_thread(postgres.stop)


def _postmaster(postgres: EmbeddedPostgres) -> int:
    return int((postgres.cluster / "postmaster.pid").read_text().split()[0])


@pytest.mark.parametrize("postgres_too", [False, True], ids=["server", "server-and-postgres"])
async def test_kill_9_with_the_embedded_postgres(
    make_server: StartFunction, tmp_path: Path, postgres_too: bool
) -> None:
    destinations = {"warehouse": {"type": "postgres", "embedded": True}}
    links = {"site-warehouse": {"from": "site", "to": "warehouse", "data": {"mode": "stream"}}}
    server = await asyncio.to_thread(make_server(None, destinations=destinations, links=links).start)
    postgres = EmbeddedPostgres(tmp_path / "data")
    await asyncio.to_thread(eventually, lambda: server.metric("penstock_link_up"), "delivery runs", 60)
    async with _load(server, "e") as sender:
        for _ in range(2):
            await _grown(sender, 1_000)
            postmaster = _postmaster(postgres)
            await asyncio.to_thread(server.kill)
            if postgres_too:
                os.kill(postmaster, signal.SIGKILL)
            await asyncio.to_thread(server.start)
            delivering = lambda: server.metric("penstock_link_up")  # noqa: E731
            await asyncio.to_thread(eventually, delivering, "delivery goes on", 60)
            assert (_postmaster(postgres) != postmaster) == postgres_too, "adopted, or started again"
    address = postgres.running()
    assert address is not None
    await _exactly_once(server, sender, address.url)
    assert await asyncio.to_thread(server.stop) == 0
    assert postgres.running() is None


async def test_sigterm_in_the_middle_of_a_load_loses_nothing(
    make_server: StartFunction, database: str
) -> None:
    server = await asyncio.to_thread(make_server(database).start)
    async with _load(server, "t") as sender:
        for _ in range(2):
            await _grown(sender, 500)
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
        await _grown(sender, 500)
    await _exactly_once(server, sender, database)
    assert await asyncio.to_thread(server.stop) == 0
