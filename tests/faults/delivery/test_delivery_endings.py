"""A change ends links of a destination that says nothing: at once if nothing of theirs can be landing there.

The bounds for what may be landing are hours here, so whoever waits for one of them does not pass.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.delivery import LinkState, NotYet, supervisor
from server.delivery.checkpoint import load
from tests.faults.delivery.box import (
    LINK,
    Box,
    append,
    bodies,
    config_of,
    fill,
    message_ids,
    running,
    until,
    without_key,
)
from tests.faults.delivery.test_delivery_crashes import crash_at
from tests.faults.proxy import Direction, FaultProxy

PLAIN = without_key()
ANSWER = (b"COMMIT\0", Direction.TO_CLIENT, b"SET batch_id")
LINKS = 20
AT_ONCE_S = 5.0  # it takes a tenth of a second; this is for a busy machine


@pytest.fixture(autouse=True)
def hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_LEAVE_S", 3600.0)
    monkeypatch.setattr(supervisor, "_RESOLVE_S", 3600.0)


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[FaultProxy]:
    parts = urlsplit(database)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        yield proxy


@dataclass
class Silent:
    """A listener on `port` that says nothing. `waiting`: how many wait for its first word."""

    port: int
    waiting: Callable[[], int]


@asynccontextmanager
async def accepting() -> AsyncIterator[Silent]:
    """Takes connections and never answers."""
    open_: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.append(writer)
        while await reader.read(1024):
            pass
        open_.remove(writer)
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield Silent(server.sockets[0].getsockname()[1], lambda: len(open_))
        await until(lambda: not open_)


@asynccontextmanager
async def full() -> AsyncIterator[Silent]:
    """Its backlog is full: the network between us takes what we send and nothing comes back."""
    with socket.socket() as listener, contextmanager(_filling)(listener) as port:
        before = _dialling(port)
        yield Silent(port, lambda: _dialling(port) - before)
        await until(lambda: _dialling(port) == before)


def _filling(listener: socket.socket) -> Iterator[int]:
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    callers = [socket.socket() for _ in range(4)]
    for caller in callers:
        caller.setblocking(False)
        caller.connect_ex(listener.getsockname())
    try:
        yield listener.getsockname()[1]
    finally:
        for caller in callers:
            caller.close()


def _dialling(port: int) -> int:
    """Connections to the port that nobody took yet: those in SYN_SENT."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[2].endswith(f":{port:04X}") and line[3] == "02" for line in lines)


def sockets() -> int:
    """How many this process has open."""
    targets = []
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(name.readlink()))
    return sum(target.startswith("socket:") for target in targets)


Host = Callable[[], AbstractAsyncContextManager[Silent]]


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
@pytest.mark.parametrize("host", [accepting, full])
async def test_links_that_are_only_connecting_end_together(tmp_path: Path, host: Host, sslmode: str) -> None:
    links = [replace(LINK, id=f"l{n}", destination_id=f"d{n}") for n in range(LINKS)]
    async with host() as silent, running(tmp_path, {}, []) as box:
        await append(box.store, bodies(["a"]))
        tasks, open_ = asyncio.all_tasks(), sockets()
        config = replace(config_of(f"postgresql://u@127.0.0.1:{silent.port}/none"), sslmode=sslmode)
        await box.delivery.apply(links, dict.fromkeys((link.destination_id for link in links), config))
        await until(lambda: silent.waiting() == LINKS)
        async with asyncio.timeout(AT_ONCE_S):
            await box.delivery.apply([], {})
        await until(lambda: not silent.waiting() and sockets() == open_)
        await until(lambda: asyncio.all_tasks() <= tasks | {asyncio.current_task()})


async def test_links_that_wait_for_their_turn_end_too(tmp_path: Path) -> None:
    links = [replace(LINK, id=f"l{n}") for n in range(LINKS)]
    async with accepting() as silent, running(tmp_path, {}, []) as box:
        await box.delivery.apply(links, {"pg": config_of(f"postgresql://u@127.0.0.1:{silent.port}/none")})
        await until(lambda: silent.waiting() == 4)
        async with asyncio.timeout(AT_ONCE_S):
            await box.delivery.apply([], {})


async def unplug(box: Box, proxy: FaultProxy, id_: str) -> None:
    """The destination says nothing more; a batch with that event waits for a connection to it."""
    taken = proxy.accepted
    proxy.stall()
    proxy.cut()
    await append(box.store, bodies([id_]))
    await until(lambda: proxy.accepted > taken and box.status().state is LinkState.FLUSHING)


async def test_a_batch_that_waits_for_a_connection_is_not_in_doubt(
    tmp_path: Path, database: str, other: str, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        await unplug(box, proxy, "b")
        async with asyncio.timeout(AT_ONCE_S):
            await box.delivery.apply([PLAIN], {"pg": config_of(other)})
        await box.drained()
        assert "nobody knows" not in (box.status().alarm or "")
    assert await message_ids(database) == ["a"]
    assert await message_ids(other) == ["b"]
    assert "whether" not in caplog.text


async def test_the_books_of_a_deleted_link_name_no_batch_that_did_not_land(
    tmp_path: Path, database: str, proxy: FaultProxy
) -> None:
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        await unplug(box, proxy, "b")
        async with asyncio.timeout(AT_ONCE_S):
            await box.delivery.apply([], {})
        stored = load(box.store.catalog, PLAIN.id)
        assert stored is not None
        assert stored.in_doubt is None
        proxy.resume()
        await box.delivery.apply([PLAIN], {"pg": config_of(database)})
        await box.drained()
    assert await message_ids(database) == ["a", "b"]


async def test_a_batch_in_doubt_is_asked_about_without_waiting_for_its_next_attempt(
    tmp_path: Path, database: str, other: str, proxy: FaultProxy
) -> None:
    proxy.stall_at(*ANSWER)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await until(proxy.fired.is_set)
        await unplug(box, proxy, "b")
        (task,) = box.delivery._tasks.values()
        change = asyncio.create_task(box.delivery.apply([PLAIN], {"pg": config_of(other)}))
        async with asyncio.timeout(AT_ONCE_S):
            await asyncio.wait([task])
        proxy.resume()
        await change
        await box.drained()
        assert box.status().delivered == 2
    assert await message_ids(database) == ["a"]
    assert await message_ids(other) == ["b"]


async def test_a_batch_in_flight_lands_before_its_link_ends(
    tmp_path: Path, database: str, proxy: FaultProxy
) -> None:
    proxy.stall_at(*ANSWER)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await until(proxy.fired.is_set)
        (task,) = box.delivery._tasks.values()
        change = asyncio.create_task(box.delivery.apply([], {}))
        await asyncio.wait([change], timeout=0.1)
        assert not task.done()
        proxy.resume()
        await change
        assert not task.cancelled()
        stored = load(box.store.catalog, PLAIN.id)
        assert stored is not None
        assert (stored.in_doubt, stored.delivered) == (None, 1)
    assert await message_ids(database) == ["a"]


async def test_what_has_no_address_yet_is_not_asked(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a kill there is a batch in doubt while the embedded Postgres starts."""
    link = replace(LINK, deduplicate=False, primary_key=(), batch_events_max=600)
    await fill(tmp_path, bodies(["a"]))
    await crash_at("committed, before its answer", tmp_path, database)
    async with running(tmp_path, {"pg": NotYet("it is starting")}, [link]) as box:
        caplog.set_level(logging.WARNING)
        await box.delivery.apply([link], {"pg": config_of(database)})
        await box.drained()
        assert box.status().delivered == 1
    assert await message_ids(database) == ["a"]
    assert "does not say" not in caplog.text
