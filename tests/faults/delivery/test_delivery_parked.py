"""A table that somebody keeps locked parks its own events; the others go on, and nothing is lost or doubled.

The link has layout `segment` and no merge key: a track event is a row of `tracks` and one of the table of its
name, and a row that is loaded twice is there twice.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from server.delivery import Fate, LinkState, flusher
from tests.faults.delivery import box as boxes
from tests.faults.delivery.box import (
    BATCHED,
    IMPATIENT,
    LINK,
    STREAM,
    Box,
    append,
    bodies,
    config_of,
    crashing,
    fetch,
    fill,
    message_ids,
    running,
    until,
)
from tests.faults.delivery.test_delivery_crashes import ADVANCE, DOWN, UP
from tests.faults.delivery.test_delivery_pauses import HOURS
from tests.faults.proxy import FaultProxy

SEGMENT = replace(BATCHED, layout="segment", batch_events_max=50)
LANE = b"SET LOCAL lock_timeout"
N = 120


def events(begin: int, end: int) -> list[dict[str, Any]]:
    """Events named red, green and blue in turn."""
    names = ("red", "green", "blue")
    ids = [f"m{n:04}" for n in range(begin, end)]
    return [body | {"event": names[at % 3]} for at, body in enumerate(bodies(ids))]


def ids(begin: int, end: int, *names: str) -> list[str]:
    chosen = [event for event in events(begin, end) if event["event"] in names or not names]
    return [event["messageId"] for event in chosen]


@asynccontextmanager
async def locked(url: str, table: str, mode: str = "ACCESS EXCLUSIVE") -> AsyncIterator[None]:
    """Somebody holds the table."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "somebody"})
    try:
        async with connection.transaction():
            await connection.execute(f'LOCK TABLE "{table}" IN {mode} MODE')
            yield
    finally:
        await connection.close()


@asynccontextmanager
async def delivering(path: Path, url: str, link: Any = SEGMENT) -> AsyncIterator[Box]:
    async with running(path, {"pg": config_of(url)}, [link], limits=IMPATIENT) as box:
        yield box


async def prepare(path: Path, url: str, link: Any = SEGMENT) -> None:
    """Tables for every name are there, with the first three events."""
    async with delivering(path, url, link) as box:
        await append(box.store, events(0, 3))
        await box.drained()


async def everything_once(url: str, end: int) -> None:
    assert await message_ids(url, "tracks") == ids(0, end)
    for name in ("red", "green", "blue"):
        assert await message_ids(url, name) == ids(0, end, name)


async def test_only_the_events_of_the_locked_table_wait(tmp_path: Path, database: str) -> None:
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "green"):
            await append(box.store, events(3, N))
            await box.drained()
            first = box.store.wal.head(STREAM) - (N - 3) + 1
            status = await box.in_state(LinkState.WAITING)
            (parked,) = status.parked
            assert (parked.table, parked.events) == ("green", len(ids(3, N, "green")))
            assert "somebody, AccessExclusiveLock" in parked.reason
            assert (status.lag_events, status.state) == (parked.events, LinkState.WAITING)
            assert status.lag_bytes > 0
            assert "green" in (status.alarm or "")
            assert await fetch(database, "SELECT 1 FROM tracks WHERE event = 'red'") != []
            fates = [box.delivery.link_outcome(STREAM, first + at)[0] for at in range(3)]
            assert [fate.fate for fate in fates] == [Fate.DELIVERED, Fate.WAITING, Fate.DELIVERED]
            assert (fates[1].reason or "").startswith('parked: table "public"."green" is locked by pid')
            assert box.delivery.keep_after() == {STREAM: first}
        await until(lambda: not box.status().parked)
        assert (box.status().delivered, box.status().alarm, box.status().lag_events) == (N, None, 0)
        assert box.delivery.keep_after() == {STREAM: box.store.wal.head(STREAM)}
    await everything_once(database, N)
    rows = await fetch(database, "SELECT message_id FROM green ORDER BY ctid")
    assert [row[0] for row in rows] == ids(0, N, "green")


PARKING = {
    "parked, before its COMMIT": (b"COMMIT\0", UP, ADVANCE),
    "parked, committed unheard": (b"COMMIT\0", DOWN, ADVANCE),
}
RELEASING = {
    "lane begun": (LANE, UP, b""),
    "lane, before COPY": (b"PGCOPY", UP, LANE),
    "lane, before COMMIT": (b"COMMIT\0", UP, LANE),
    "lane, committed unheard": (b"COMMIT\0", DOWN, LANE),
}


EVERY_STEP = [(step, still_locked) for step in (*PARKING, *RELEASING) for still_locked in (False, True)]
QUICK = (
    ("parked, committed unheard", True),
    ("lane, before COPY", False),
    ("lane, committed unheard", False),
)


@pytest.mark.parametrize(
    ("step", "still_locked"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.long) for case in EVERY_STEP],
)
async def test_kill_9_at_each_step(step: str, still_locked: bool, tmp_path: Path, database: str) -> None:
    await prepare(tmp_path, database)
    await fill(tmp_path, events(3, N))
    async with AsyncExitStack() as after_restart:
        async with AsyncExitStack() as lock:
            await lock.enter_async_context(locked(database, "green"))
            async with crash_at(step, tmp_path, database) as fired:
                if step in RELEASING:
                    await until(lambda: _main_is_through(database))
                    await lock.aclose()
                await until(fired.is_set)
        if still_locked:
            await after_restart.enter_async_context(locked(database, "green", "SHARE"))
        async with delivering(tmp_path, database) as box:
            await append(box.store, events(N, N + 30))
            await box.drained()
            assert {parked.table for parked in box.status().parked} <= {"green"}
            await after_restart.aclose()
            await until(lambda: not box.status().parked)
            assert box.status().delivered == N + 30
    await everything_once(database, N + 30)


async def _main_is_through(url: str) -> bool:
    return len(await message_ids(url, "blue")) == len(ids(0, N, "blue"))


@asynccontextmanager
async def crash_at(step: str, path: Path, url: str) -> AsyncIterator[asyncio.Event]:
    parts = urlsplit(url)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        proxy.stall_at(*(PARKING | RELEASING)[step])
        async with crashing(path, url, proxy.port, "segment"):
            yield proxy.fired


@pytest.mark.parametrize("step", RELEASING)
async def test_a_cut_while_a_lane_is_delivered(step: str, tmp_path: Path, database: str) -> None:
    await prepare(tmp_path, database)
    parts = urlsplit(database)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        proxy.cut_at(*RELEASING[step])
        through = {"pg": config_of(database, proxy.port)}
        async with running(tmp_path, through, [SEGMENT], limits=IMPATIENT) as box:
            async with locked(database, "green"):
                await append(box.store, events(3, N))
                await box.drained()
            await until(lambda: not box.status().parked)
            assert proxy.fired.is_set()
            assert box.status().delivered == N
    await everything_once(database, N)


async def test_a_table_that_cannot_be_changed(tmp_path: Path, database: str) -> None:
    """Somebody reads the table for hours: rows go in, a new column does not."""
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "green", "ACCESS SHARE"):
            await append(box.store, [body | {"event": "green"} for body in bodies(["new"], width=7)])
            await append(box.store, events(3, N))
            await until(lambda: box.status().checkpoint == box.store.wal.head(STREAM))
            assert [parked.table for parked in box.status().parked] == ["green"]
            assert await message_ids(database, "red") == ids(0, N, "red")
        await until(lambda: not box.status().parked)
    assert await message_ids(database, "green") == [*ids(0, N, "green"), "new"]


async def test_later_events_queue_up_behind_those_that_are_parked(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is free again, and its lane was not looked at yet: nobody overtakes."""
    await prepare(tmp_path, database)
    monkeypatch.setattr(boxes, "PATIENCE", HOURS)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "green"):
            await append(box.store, events(3, 60))
            await box.drained()
        await append(box.store, events(60, N))
        await box.drained()
        assert [parked.events for parked in box.status().parked] == [len(ids(3, N, "green"))]
        assert await message_ids(database, "blue") == ids(0, N, "blue")
        await box.delivery.resume(LINK.id)
        await until(lambda: not box.status().parked)
    rows = await fetch(database, "SELECT message_id FROM green ORDER BY ctid")
    assert [row[0] for row in rows] == ids(0, N, "green")


async def test_the_quota_counts_from_the_oldest_parked_event(tmp_path: Path, database: str) -> None:
    link = replace(SEGMENT, backlog_bytes_max=400_000)
    await prepare(tmp_path, database, link)
    async with delivering(tmp_path, database, link) as box:
        async with locked(database, "green"):
            await append(box.store, [body | {"event": "green"} for body in bodies(["new"])])
            await append(
                box.store,
                [body | {"event": "red"} for body in bodies(["b1", "b2", "b3"], text="x" * 200_000)],
            )
            await box.drained()
            await until(lambda: box.delivery.backlog_exceeded(STREAM))
            assert [parked.events for parked in box.status().parked] == [1]
        await until(lambda: not box.delivery.backlog_exceeded(STREAM))


async def test_two_tables_and_one_that_is_freed(tmp_path: Path, database: str) -> None:
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box, AsyncExitStack() as red:
        await red.enter_async_context(locked(database, "red"))
        async with locked(database, "green"):
            await append(box.store, events(3, N))
            await box.drained()
            assert {parked.table for parked in box.status().parked} == {"red", "green"}
        await until(lambda: [parked.table for parked in box.status().parked] == ["red"])
        assert await message_ids(database, "green") == ids(0, N, "green")
        await red.aclose()
        await until(lambda: not box.status().parked)
    await everything_once(database, N)


async def test_all_that_is_locked_waits_when_it_is_the_common_table(tmp_path: Path, database: str) -> None:
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "tracks"):
            await append(box.store, [*events(3, N), {"type": "page", "messageId": "p", "anonymousId": "a"}])
            await box.drained()
            assert await message_ids(database, "pages") == ["p"]
        await until(lambda: not box.status().parked)
    await everything_once(database, N)


async def test_one_lane_too_many_holds_up_the_link(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "LANES_MAX", 1)
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "red"), locked(database, "green"):
            await append(box.store, events(3, N))
            status = await box.in_state(LinkState.BACKING_OFF)
            assert "is locked by" in (status.last_error or "")
            assert status.delivered == 3
        await until(lambda: box.status().delivered == N)
    await everything_once(database, N)


async def test_too_many_parked_events_hold_up_the_link(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flusher, "PARKED_MAX", 10)
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "green"):
            await append(box.store, events(3, N))
            await until(lambda: "events are parked" in (box.status().last_error or ""))
            assert box.status().lag_events > box.status().parked[0].events
        await until(lambda: box.status().delivered == N)
    await everything_once(database, N)


async def test_a_link_of_one_table_waits_and_says_for_whom(tmp_path: Path, database: str) -> None:
    async with delivering(tmp_path, database, LINK) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        async with locked(database, "events"):
            await append(box.store, bodies(["m2"]))
            await until(lambda: "is locked by pid" in (box.status().last_error or ""))
            assert (box.status().parked, box.status().lag_events) == ((), 1)
        await box.drained()
    assert await message_ids(database) == ["m1", "m2"]


async def test_a_database_put_back_gets_parked_events_again(tmp_path: Path, database: str) -> None:
    """Put back to when the events were parked: the offset says nothing, the number of releases does."""
    await prepare(tmp_path, database)
    async with delivering(tmp_path, database) as box:
        async with locked(database, "green"):
            await append(box.store, events(3, N))
            await box.drained()
            kept = (await fetch(database, "SELECT batch_id, outcome FROM penstock.progress"))[0]
        await until(lambda: not box.status().parked)
    await fetch(database, "DELETE FROM green WHERE message_id > 'm0003'")
    await fetch(database, "DELETE FROM tracks WHERE event = 'green' AND message_id > 'm0003'")
    batch_id, outcome = kept["batch_id"], kept["outcome"].hex()
    await fetch(database, f"UPDATE penstock.progress SET batch_id='{batch_id}', outcome='\\x{outcome}'")
    async with delivering(tmp_path, database) as box:
        await until(lambda: "restored from an older copy" in (box.status().alarm or ""))
        await until(lambda: not box.status().parked)
    await everything_once(database, N)


async def test_a_database_put_back_to_before_they_were_parked(tmp_path: Path, database: str) -> None:
    await prepare(tmp_path, database)
    kept = (await fetch(database, "SELECT last_offset, batch_id, outcome FROM penstock.progress"))[0]
    async with delivering(tmp_path, database) as box:
        async with locked(database, "green"):
            await append(box.store, events(3, N))
            await box.drained()
        await until(lambda: not box.status().parked)
    for table in ("tracks", "red", "green", "blue"):
        await fetch(database, f"DELETE FROM {table} WHERE message_id > 'm0002'")
    changes = f"last_offset = {kept['last_offset']}, batch_id = '{kept['batch_id']}'"
    outcome = kept["outcome"].hex()
    await fetch(database, f"UPDATE penstock.progress SET {changes}, outcome = '\\x{outcome}'")
    async with delivering(tmp_path, database) as box:
        await box.drained()
        await until(lambda: not box.status().parked)
    await everything_once(database, N)
