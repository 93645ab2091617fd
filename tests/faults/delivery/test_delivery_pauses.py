"""Pausing and resuming a link, what its status says, and what many waiting links hold."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.clock import SystemClock
from server.delivery import LinkState, Patience
from server.delivery.breaker import ALIKE_MAX
from tests.faults.delivery import box as boxes
from tests.faults.delivery.box import (
    LINK,
    STREAM,
    append,
    bodies,
    config_of,
    fetch,
    fill,
    message_ids,
    running,
    until,
)
from tests.faults.delivery.test_delivery_refusals import PICKY, numbered
from tests.faults.proxy import FaultProxy

HOURS = Patience(retry_first_s=36_000, retry_cap_s=36_000, pause_first_s=36_000, pause_cap_s=36_000)
SECOND = replace(LINK, id="second", table_name="others")


class HourAgo(SystemClock):
    def wall_ms(self) -> int:
        return super().wall_ms() - 3_600_000


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[FaultProxy]:
    parts = urlsplit(url)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        yield proxy


async def test_a_paused_link_keeps_its_events_over_a_restart(tmp_path: Path, database: str) -> None:
    destinations, links = {"pg": config_of(database)}, [LINK, SECOND]
    async with running(tmp_path, destinations, links) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        kept = box.status().checkpoint
        assert await box.delivery.pause(LINK.id)
        await box.in_state(LinkState.PAUSED)
        await append(box.store, bodies(["m2"]))
        await box.drained(SECOND.id)
    async with running(tmp_path, destinations, links) as box:
        await append(box.store, bodies(["m3"]))
        await box.drained(SECOND.id)
        status = await box.in_state(LinkState.PAUSED)
        assert (status.paused_by, status.alarm, status.lag_events) == ("operator", "paused by an operator", 2)
        assert box.delivery.keep_after() == {STREAM: kept}
        assert await box.delivery.resume(LINK.id)
        await box.drained()
        assert (box.status().paused_by, box.status().alarm) == (None, None)
    assert await message_ids(database) == ["m1", "m2", "m3"] == await message_ids(database, "others")


async def test_a_pause_in_the_middle_of_a_backlog(tmp_path: Path, database: str) -> None:
    ids = [f"m{n:05}" for n in range(2_400)]
    await fill(tmp_path, bodies(ids))
    async with running(
        tmp_path, {"pg": config_of(database)}, [replace(boxes.without_key(), batch_events_max=100)]
    ) as box:
        for turn in range(1, 4):
            await until(lambda turn=turn: box.status().delivered >= turn * 400)  # type: ignore[misc]
            await box.delivery.pause(LINK.id)
            paused = await box.in_state(LinkState.PAUSED)
            assert paused.delivered + paused.lag_events == len(ids)
            await box.delivery.resume(LINK.id)
        await box.drained()
    assert await message_ids(database) == ids


async def test_a_paused_link_closes_its_stream_at_its_quota(tmp_path: Path, database: str) -> None:
    links = [replace(LINK, backlog_bytes_max=400_000)]
    async with running(tmp_path, {"pg": config_of(database)}, links) as box:
        await box.delivery.pause(LINK.id)
        await append(box.store, bodies(["m1"]))
        assert not box.delivery.backlog_exceeded(STREAM)
        await append(box.store, bodies(["m2", "m3", "m4"], text="x" * 200_000))
        await until(lambda: box.delivery.backlog_exceeded(STREAM))
        await box.delivery.resume(LINK.id)
        await until(lambda: not box.delivery.backlog_exceeded(STREAM))


async def test_a_delivery_that_was_stopped_hears_no_commits(tmp_path: Path, database: str) -> None:
    """Another one may have been started in its place."""
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.delivery.stop(1.0)
        assert box.store.wal._subscribers == []
        await append(box.store, bodies(["m1"]))


async def test_no_such_link(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        assert not await box.delivery.pause("nobody")
        assert not await box.delivery.resume("nobody")


async def test_resume_ends_a_back_off(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "PATIENCE", HOURS)
    async with proxy_to(database) as proxy:
        proxy.refuse()
        async with running(tmp_path, {"pg": config_of(database, proxy.port)}) as box:
            await append(box.store, bodies(["m1"]))
            await box.in_state(LinkState.BACKING_OFF)
            proxy.refuse(on=False)
            await box.delivery.resume(LINK.id)
            await box.drained()


async def test_resume_ends_the_pause_of_the_breaker(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "PATIENCE", HOURS)
    await fetch(database, PICKY)
    await fill(tmp_path, numbered(*([1_000] * ALIKE_MAX)))
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        assert (await box.in_state(LinkState.PAUSED)).paused_by == "breaker"
        await fetch(database, "ALTER TABLE events DROP CONSTRAINT events_n_check")
        await box.delivery.resume(LINK.id)
        await box.drained()
        assert (box.status().dead_letters, box.status().paused_by) == (0, None)


async def test_lag_is_that_of_the_events_also_after_a_restart(tmp_path: Path, database: str) -> None:
    await fill(tmp_path, bodies(["m1"]), HourAgo())
    async with proxy_to(database) as proxy:
        proxy.refuse()
        async with running(tmp_path, {"pg": config_of(database, proxy.port)}) as box:
            await until(lambda: box.status().lag_s >= 3_600)
            proxy.refuse(on=False)
            await box.drained()
            assert (box.status().lag_s, box.status().lag_events) == (0.0, 0)
            await until(lambda: box.status().rate_per_s > 0)


async def test_links_that_wait_hold_no_batches(tmp_path: Path, database: str) -> None:
    """A dozen links with a backlog and a destination that went away in the middle."""
    links = [replace(LINK, id=f"link{n}", table_name=f"t{n}", batch_events_max=100) for n in range(12)]
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxy_to(database))
        through = {"pg": config_of(database, proxy.port)}
        box = await stack.enter_async_context(running(tmp_path, through, links))
        await append(box.store, bodies(["m1"]))
        await asyncio.gather(*(box.drained(link.id) for link in links))
        proxy.refuse()
        proxy.cut()
        await append(box.store, bodies([f"n{n}" for n in range(300)]))
        slots = box.delivery._destinations["pg"].slots
        for link in links:
            await box.in_state(LinkState.BACKING_OFF, link.id)
        await until(lambda: slots._value == 8)
        assert all(box.status(link.id).lag_s > 0 for link in links)
        proxy.refuse(on=False)
        await asyncio.gather(*(box.drained(link.id) for link in links))
    assert [len(await message_ids(database, f"t{n}")) for n in range(12)] == [301] * 12


async def test_three_destinations_of_which_two_are_dead(tmp_path: Path, database: str) -> None:
    async with proxy_to(database) as silent, proxy_to(database) as away:
        silent.stall()
        away.refuse()
        ports = {"pg": None, "silent": silent.port, "away": away.port}
        destinations = {name: config_of(database, port) for name, port in ports.items()}
        links = [replace(LINK, id=name, destination_id=name, table_name=name) for name in ports]
        async with running(tmp_path, destinations, links, stop_s=10) as box:
            for turn in range(5):
                await append(box.store, bodies([f"m{turn}"]))
                async with asyncio.timeout(5):
                    await box.drained("pg")
            assert (box.status("silent").lag_events, box.status("away").lag_events) == (5, 5)
            silent.resume()
            away.refuse(on=False)
            await box.drained("away")
            await box.drained("silent")
    assert await message_ids(database, "away") == [f"m{turn}" for turn in range(5)]
    assert await message_ids(database, "silent") == [f"m{turn}" for turn in range(5)]


async def test_three_hundred_links(tmp_path: Path, database: str) -> None:
    """Hundreds of links share few connections, and asking for all of them is cheap."""
    links = [replace(LINK, id=f"link{n:03}", table_name=f"t{n % 3}") for n in range(300)]
    async with running(tmp_path, {"pg": config_of(database)}, links, stop_s=30) as box:
        await append(box.store, bodies(["m1"]))
        await until(lambda: sum(status.delivered for status in box.delivery.status()) == 300)
        began_s = time.perf_counter()
        statuses = box.delivery.status()
        exceeded = box.delivery.backlog_exceeded(STREAM)
        took_s = time.perf_counter() - began_s
        assert len(statuses) == 300
        assert not exceeded
        assert took_s < 0.05, took_s
        sessions = await fetch(
            database,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock' "
            "AND datname = current_database()",
        )
        assert sessions[0][0] <= 4


RAISES = (
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END'",
    "CREATE TRIGGER no BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION no()",
)


async def test_what_is_wrong_is_said_until_a_batch_lands(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        for statement in RAISES:
            await fetch(database, statement)
        await append(box.store, bodies(["m2"]))
        await until(lambda: box.status().last_error is not None)
        (before,) = await fetch(database, "SELECT epoch FROM penstock.progress")
        for _ in range(60):
            assert "not today" in (box.status().last_error or "")
            (row,) = await fetch(database, "SELECT epoch FROM penstock.progress")
        assert row["epoch"] > before["epoch"]
        await fetch(database, "DROP TRIGGER no ON events")
        await box.drained()
        await until(lambda: box.status().last_error is None)
