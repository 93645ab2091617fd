"""Connections cut and stalled at each step of a flush: back-off, and every event there once.

The link has no merge key, so nothing would hide a row that was loaded twice.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.delivery import LinkState
from server.delivery.stamps import LayoutName
from server.warehouse import Limits
from tests.faults.delivery.box import (
    BATCHED,
    LINK,
    append,
    bodies,
    by_layout,
    config_of,
    fetch,
    fill,
    landed,
    message_ids,
    running,
    until,
    without_key,
)
from tests.faults.delivery.test_delivery_crashes import IDS, STEPS
from tests.faults.proxy import Direction, FaultProxy

QUICK = Limits(stall_timeout_s=0.5, statement_timeout_s=0.4, lock_timeout_s=0.4, connect_timeout_s=0.5)


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[FaultProxy]:
    parts = urlsplit(database)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("layout", "step"), by_layout(STEPS, ["in the middle of COPY", "committed, before its answer"])
)
async def test_cut(layout: LayoutName, step: str, tmp_path: Path, database: str, proxy: FaultProxy) -> None:
    await fill(tmp_path, bodies(IDS))
    pattern, direction, after = STEPS[step]
    proxy.cut_at(pattern, direction, after)
    link = replace(BATCHED, layout=layout)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [link]) as box:
        await until(proxy.fired.is_set)
        await box.drained()
        assert box.status().delivered == len(IDS)
    assert await landed(database, layout) == IDS


@pytest.mark.parametrize(("layout", "step"), by_layout(STEPS, ["before COMMIT"]))
async def test_stall_until_given_up_then_everything_arrives_late(
    layout: LayoutName, step: str, tmp_path: Path, database: str, proxy: FaultProxy
) -> None:
    """What was held back, a COMMIT perhaps, reaches Postgres after the link gave up on it and tries again."""
    await fill(tmp_path, bodies(IDS))
    pattern, direction, after = STEPS[step]
    proxy.stall_at(pattern, direction, after)
    link = replace(BATCHED, layout=layout)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [link], limits=QUICK) as box:
        await until(proxy.fired.is_set)
        await until(lambda: box.status().last_error is not None)
        proxy.resume()
        await box.drained()
        assert box.status().delivered == len(IDS)
    assert await landed(database, layout) == IDS


@pytest.mark.parametrize(
    ("direction", "byte_count"),
    [(Direction.TO_SERVER, n) for n in (1, 1_000, 20_000, 60_000)]
    + [(Direction.TO_CLIENT, n) for n in (1, 400, 900)],
)
async def test_cut_after_some_bytes(
    direction: Direction, byte_count: int, tmp_path: Path, database: str, proxy: FaultProxy
) -> None:
    await fill(tmp_path, bodies(IDS))
    proxy.cut_after(byte_count, direction)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [BATCHED]) as box:
        await box.drained()
        assert proxy.fired.is_set()
    assert await message_ids(database) == IDS


async def test_cut_again_and_again(tmp_path: Path, database: str, proxy: FaultProxy) -> None:
    """Every COMMIT loses its answer once; each batch is found landed."""
    await fill(tmp_path, bodies(IDS))
    link = replace(without_key(), batch_events_max=100)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [link]) as box:
        for _ in range(5):
            proxy.cut_at(b"COMMIT\0", Direction.TO_CLIENT, b"SET batch_id")
            await until(proxy.fired.is_set)
        await box.drained()
        assert box.status().delivered == len(IDS)
    assert await message_ids(database) == IDS


async def test_postgres_away_then_back(tmp_path: Path, database: str, proxy: FaultProxy) -> None:
    link = replace(without_key(), batch_events_max=10)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [link]) as box:
        await append(box.store, bodies(IDS[:30]))
        await box.drained()
        proxy.refuse()
        proxy.cut()
        await append(box.store, bodies(IDS[30:100]))
        await until(lambda: "connect to" in (box.status().last_error or ""))
        status = await box.in_state(LinkState.BACKING_OFF)
        assert status.next_attempt_ms is not None
        assert status.lag_events == 70
        proxy.refuse(on=False)
        await box.drained()
        assert box.status().last_error is None
    rows = await fetch(database, "SELECT message_id FROM events ORDER BY ctid")
    assert [row[0] for row in rows] == IDS[:100]


async def test_a_destination_that_never_was_there(tmp_path: Path, database: str, proxy: FaultProxy) -> None:
    proxy.refuse()
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}) as box:
        await append(box.store, bodies(["m1"]))
        await box.in_state(LinkState.BACKING_OFF)
        proxy.refuse(on=False)
        await box.drained()
    assert await message_ids(database) == ["m1"]


async def test_a_dead_destination_slows_no_other(tmp_path: Path, database: str, proxy: FaultProxy) -> None:
    proxy.stall()
    dead = replace(LINK, id="dead", destination_id="dead")
    destinations = {"pg": config_of(database), "dead": config_of(database, proxy.port)}
    async with running(tmp_path, destinations, [dead, LINK], stop_s=0.1) as box:
        for turn in range(5):
            await append(box.store, bodies([f"m{turn}"]))
            async with asyncio.timeout(5):
                await box.drained()
        assert box.status("dead").lag_events == 5
        proxy.resume()
    assert await message_ids(database) == [f"m{turn}" for turn in range(5)]


async def test_another_process_takes_the_link_over(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        await fetch(database, "UPDATE penstock.progress SET epoch = epoch + 1")
        await append(box.store, bodies(["m2"]))
        status = await box.in_state(LinkState.STOPPED)
        assert status.alarm is not None
        assert "taken over by another process" in status.alarm
        assert status.lag_events == 1
    assert await message_ids(database) == ["m1"]


async def test_progress_that_vanished_is_taken_over_again(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        await fetch(database, "DELETE FROM penstock.progress")
        await append(box.store, bodies(["m2"]))
        await box.drained()
    assert await message_ids(database) == ["m1", "m2"]
