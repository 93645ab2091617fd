"""Links and destinations change while delivery runs: nothing is lost or doubled, and nobody else notices."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.clock import SystemClock
from server.delivery import LinkState, NotYet, removed, supervisor
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
from tests.faults.proxy import Direction, FaultProxy

PLAIN = without_key()
NOWHERE = config_of("postgresql://nobody:x@127.0.0.1:9/none")


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[FaultProxy]:
    parts = urlsplit(database)
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        yield proxy


def checkpoint(box: Box, link_id: str = LINK.id) -> int:
    stored = load(box.store.catalog, link_id)
    assert stored is not None
    return stored.last


async def test_a_new_link_from_now_has_what_comes_after_the_change(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {}, []) as box:
        await append(box.store, bodies(["before"]))
        await box.delivery.apply([replace(PLAIN, start_from="now")], {"pg": config_of(database)})
        await append(box.store, bodies(["after"]))
        await box.drained()
    assert await message_ids(database) == ["after"]


async def test_a_new_link_begins_at_once_where_its_destination_is_away(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {}, []) as box:
        await append(box.store, bodies(["before"]))
        link = replace(PLAIN, start_from="now")
        await box.delivery.apply([link], {"pg": NotYet("it is starting")})
        status = await box.in_state(LinkState.BACKING_OFF)
        assert (status.last_error, status.lag_events) == ("it is starting", 0)
        await append(box.store, bodies(["after"]))
        await box.delivery.apply([link], {"pg": config_of(database)})
        await box.drained()
    assert await message_ids(database) == ["after"]


async def test_a_link_changes_at_full_speed(tmp_path: Path, database: str) -> None:
    ids = [f"m{n:05}" for n in range(6_000)]
    places = {"pg": config_of(database)}
    async with running(tmp_path, places, [PLAIN]) as box:
        for at in range(0, len(ids), 300):
            await append(box.store, bodies(ids[at : at + 300]))
            await box.delivery.apply([replace(PLAIN, batch_events_max=100 + at)], places)
        await box.drained()
        assert box.status().delivered == len(ids)
        assert box.status().alarm is None
    assert await message_ids(database) == ids


async def test_a_deleted_link_pins_nothing_and_goes_on_if_it_comes_back(
    tmp_path: Path, database: str
) -> None:
    places = {"pg": config_of(database)}
    async with running(tmp_path, places, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        await box.delivery.apply([], {})
        assert (box.delivery.status(), box.delivery.keep_after()) == ([], {})
        await append(box.store, bodies(["b"]))
        await box.delivery.apply([PLAIN], places)
        await box.drained()
    assert await message_ids(database) == ["a", "b"]


async def test_a_deleted_link_that_comes_back_and_says_where_it_begins(tmp_path: Path, database: str) -> None:
    link = replace(PLAIN, start_from="oldest")
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        await box.delivery.apply([replace(link, batch_events_max=7)], {"pg": config_of(database)})
        await box.delivery.apply([], {})
        await box.delivery.apply([link], {"pg": config_of(database)})
        await box.drained()
        await box.delivery.apply([], {})
        await append(box.store, bodies(["b"]))
        await box.delivery.apply([replace(link, start_from="now")], {"pg": config_of(database)})
        await append(box.store, bodies(["c"]))
        await box.drained()
        assert box.status().delivered == 1
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await box.drained()
    assert await message_ids(database) == ["a", "a", "c"]


async def test_after_the_grace_period_a_link_is_a_new_one(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"pg": config_of(database)}
    async with running(tmp_path, places, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        await box.delivery.apply([], {})
    monkeypatch.setattr(removed, "GRACE_MS", -1)
    async with running(tmp_path, {}, []) as box:
        await until(lambda: checkpoint(box) == 0)
        await box.delivery.apply([replace(PLAIN, start_from="now")], places)
        await append(box.store, bodies(["b"]))
        await box.drained()
        assert box.status().delivered == 1
    assert await message_ids(database) == ["a", "b"]


async def test_a_link_that_only_rests_is_not_forgotten(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removed, "GRACE_MS", -1)
    async with running(tmp_path, {"pg": config_of(database)}, [PLAIN]) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        last = checkpoint(box)
        await box.delivery.apply([], {}, existing=[PLAIN.id])
        await removed.forget_old(box.store, [], SystemClock().wall_ms())
        assert checkpoint(box) == last


async def test_another_stream_under_the_id_of_a_link_is_another_link(tmp_path: Path, database: str) -> None:
    places = {"pg": config_of(database)}
    async with running(tmp_path, places, [PLAIN]) as box:
        await append(box.store, bodies(["of another"]), stream="shop")
        await append(box.store, bodies(["a"]))
        await box.drained()
        await box.delivery.apply([replace(PLAIN, stream_id="shop")], places)
        await box.drained()
        assert box.status().delivered == 1
    assert await message_ids(database) == ["a", "of another"]


async def test_a_destination_that_is_left_says_what_landed(
    tmp_path: Path, database: str, other: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LEAVE_S", 0.1)
    await fill(tmp_path, bodies(["a"]))
    proxy.stall_at(b"COMMIT\0", Direction.TO_CLIENT, b"SET batch_id")
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [PLAIN]) as box:
        await until(proxy.fired.is_set)
        (task,) = box.delivery._tasks.values()
        change = asyncio.create_task(box.delivery.apply([PLAIN], {"pg": config_of(other)}))
        await until(task.done)
        proxy.resume()
        await change
        await append(box.store, bodies(["b"]))
        await box.drained()
        assert box.status().delivered == 2
    assert await message_ids(database) == ["a"]
    assert await message_ids(other) == ["b"]


async def test_a_dead_destination_is_left_within_seconds(
    tmp_path: Path, database: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LEAVE_S", 0.1)
    monkeypatch.setattr(supervisor, "_RESOLVE_S", 0.1)
    await fill(tmp_path, bodies(["a"]))
    proxy.stall_at(b"SET batch_id", Direction.TO_SERVER)
    async with running(tmp_path, {"pg": config_of(database, proxy.port)}, [PLAIN]) as box:
        await until(proxy.fired.is_set)
        async with asyncio.timeout(5):
            await box.delivery.apply([PLAIN], {"pg": config_of(database)})
        proxy.cut()
        await box.drained()
        assert box.status().delivered == 1
    assert await message_ids(database) == ["a"]


async def test_a_wrong_destination_holds_back_nobody(tmp_path: Path, database: str) -> None:
    wrong = replace(PLAIN, id="wrong", destination_id="nowhere")
    places = {"pg": config_of(database), "nowhere": NOWHERE}
    async with running(tmp_path, places, [PLAIN]) as box:
        await box.delivery.apply([PLAIN, wrong], places)
        await append(box.store, bodies(["a"]))
        await box.drained()
        status = await box.in_state(LinkState.BACKING_OFF, "wrong")
        assert "nobody@127.0.0.1:9" in str(status.last_error)
        await box.delivery.apply([PLAIN, wrong], {**places, "nowhere": config_of(database)})
        await box.drained("wrong")
    assert await message_ids(database) == ["a", "a"]


async def test_a_link_that_stays_is_not_touched(tmp_path: Path, database: str) -> None:
    places = {"pg": config_of(database)}
    second = replace(PLAIN, id="second", table_name="others")
    async with running(tmp_path, places, [PLAIN]) as box:
        (task,) = box.delivery._tasks.values()
        await box.delivery.apply([second, PLAIN], places)
        await append(box.store, bodies(["a"]))
        await box.drained()
        await box.drained("second")
        assert [status.link_id for status in box.delivery.status()] == ["second", PLAIN.id]
        assert not task.done()
    assert await message_ids(database) == await message_ids(database, "others") == ["a"]
