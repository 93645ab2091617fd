"""The wire between Penstock and Postgres is cut and stalled: mid-COPY, around COMMIT, at random."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.faults.proxy import Direction, FaultProxy
from tests.faults.server.conftest import StartFunction
from tests.running import Penstock, Sender, delivered, eventually

# What the wire shows of a step of a flush: the words of our statements, and the server's answer to COMMIT.
# Other transactions commit too; the one of a flush comes after the progress row was moved.
_COPY = b"COPY "
_COMMIT = b"COMMIT\0"
_MOVED = b"SET batch_id"


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()


def _proxy(url: str) -> FaultProxy:
    parts = urlsplit(url)
    assert parts.hostname is not None
    return FaultProxy(parts.hostname, parts.port or 5432)


@contextlib.asynccontextmanager
async def _behind_proxy(
    make_server: StartFunction, database: str
) -> AsyncIterator[tuple[FaultProxy, Penstock, Sender]]:
    """A server that has delivered, on connections that are cut: a statement's words are sent once on one."""
    async with _proxy(database) as proxy:
        server = await asyncio.to_thread(make_server(_through(database, proxy.port)).start)
        sender = Sender(server.port)
        await sender.send(f"a{i}" for i in range(200))
        await asyncio.to_thread(server.drained)
        proxy.cut()
        yield proxy, server, sender


_at_each_step = pytest.mark.parametrize(
    ("pattern", "direction", "after"),
    [
        (_COPY, Direction.TO_SERVER, b""),
        (_COMMIT, Direction.TO_SERVER, _MOVED),
        (_COMMIT, Direction.TO_CLIENT, _MOVED),
    ],
    ids=["copy", "commit-sent", "commit-answered"],
)


@_at_each_step
async def test_a_cut_at_each_step_of_a_flush(
    make_server: StartFunction, database: str, pattern: bytes, direction: Direction, after: bytes
) -> None:
    async with _behind_proxy(make_server, database) as (proxy, server, sender):
        proxy.cut_at(pattern, direction, after)
        await sender.send(f"b{i}" for i in range(2_000))
        await asyncio.wait_for(proxy.fired.wait(), 20)
        await asyncio.to_thread(server.drained)
        assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
        assert await asyncio.to_thread(server.stop) == 0


@_at_each_step
async def test_kill_9_at_each_step_of_a_flush(
    make_server: StartFunction, database: str, pattern: bytes, direction: Direction, after: bytes
) -> None:
    async with _behind_proxy(make_server, database) as (proxy, server, sender):
        proxy.stall_at(pattern, direction, after)
        await sender.send(f"b{i}" for i in range(2_000))
        await asyncio.wait_for(proxy.fired.wait(), 20)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        proxy.resume()  # what the dead process had sent arrives only now
        await asyncio.to_thread(server.drained)
        assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
        assert await asyncio.to_thread(server.stop) == 0


async def test_cuts_at_random_places(make_server: StartFunction, database: str) -> None:
    chance = random.Random(7)
    async with _proxy(database) as proxy:
        server = await asyncio.to_thread(make_server(_through(database, proxy.port)).start)
        sender = Sender(server.port)
        for number in range(8):
            proxy.cut_after(chance.randrange(200, 200_000), chance.choice(list(Direction)))
            await sender.send(f"r{number}-{i}" for i in range(500))
        proxy.cut()
        await asyncio.to_thread(server.drained)
        assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
        assert await asyncio.to_thread(server.stop) == 0


@pytest.mark.parametrize(("pattern", "after"), [(_COPY, b""), (_COMMIT, _MOVED)], ids=["copy", "commit"])
async def test_a_stalled_wire_is_given_up_and_nothing_is_lost(
    make_server: StartFunction, database: str, pattern: bytes, after: bytes
) -> None:
    async with _proxy(database) as proxy:
        server = make_server(_through(database, proxy.port), delivery={"statement_timeout_s": 1.5})
        await asyncio.to_thread(server.start)
        sender = Sender(server.port)
        await sender.send(f"a{i}" for i in range(200))
        await asyncio.to_thread(server.drained)
        proxy.cut()
        proxy.stall_at(pattern, Direction.TO_SERVER, after)
        await sender.send(f"b{i}" for i in range(500))
        await asyncio.wait_for(proxy.fired.wait(), 20)
        given_up = lambda: "link site-warehouse: " in server.log  # noqa: E731
        await asyncio.to_thread(eventually, given_up, "the link gives up the stalled wire", 20)
        proxy.resume()  # what was held back arrives late, a COMMIT perhaps
        await asyncio.to_thread(server.drained)
        assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
        assert await asyncio.to_thread(server.stop) == 0
