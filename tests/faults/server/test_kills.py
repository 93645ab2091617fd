"""Processes die at any moment; every acknowledged event is in Postgres exactly once afterwards."""

import asyncio
import os
import random
import signal
from pathlib import Path

from server.embedded import EmbeddedPostgres
from tests.faults.server.conftest import StartFunction
from tests.running import Penstock, Sender, delivered, eventually


def _exactly_once(sender: Sender, url: str) -> None:
    assert sorted(delivered(url)) == sorted(sender.acknowledged)


async def _kill_repeatedly(
    server: Penstock, sending: "asyncio.Task[None]", chance: random.Random, times: int
) -> None:
    for _ in range(times):
        acknowledged = chance.uniform(0.05, 0.8)
        await asyncio.wait([sending], timeout=acknowledged)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)


async def test_kill_9_of_the_server_under_load(make_server: StartFunction, database: str) -> None:
    server = make_server(
        database, store={"segment_bytes": 20_000_000}, limits={"body_bytes_max": 10_000_000}
    ).start()
    sender = Sender(server.port)
    sending = asyncio.create_task(sender.send(f"k{i}" for i in range(12_000)))
    await _kill_repeatedly(server, sending, random.Random(20261121), times=6)
    await sending
    await asyncio.to_thread(server.drained)
    await asyncio.to_thread(_exactly_once, sender, database)


async def test_immediate_stop_of_postgres_under_load(make_server: StartFunction, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    address = await asyncio.to_thread(postgres.start)
    server = await asyncio.to_thread(make_server(address.url).start)
    sender = Sender(server.port)
    sending = asyncio.create_task(sender.send(f"p{i}" for i in range(8_000)))
    for _ in range(3):
        await asyncio.wait([sending], timeout=0.5)
        pid = int((postgres.cluster / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # what pg_ctl stop -m immediate sends
        await asyncio.to_thread(eventually, lambda: postgres.ensure() is not None, "Postgres runs again", 60)
    await sending
    await asyncio.to_thread(server.drained)
    await asyncio.to_thread(_exactly_once, sender, address.url)
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(postgres.stop)


async def test_sigterm_in_the_middle_of_a_load_loses_nothing(
    make_server: StartFunction, database: str
) -> None:
    server = make_server(database).start()
    sender = Sender(server.port)
    sending = asyncio.create_task(sender.send(f"t{i}" for i in range(6_000)))
    await asyncio.wait([sending], timeout=0.3)
    assert await asyncio.to_thread(server.stop) == 0
    await asyncio.to_thread(server.start)
    await sending
    await asyncio.to_thread(server.drained)
    await asyncio.to_thread(_exactly_once, sender, database)
