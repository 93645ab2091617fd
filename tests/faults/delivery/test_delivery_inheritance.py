"""A restored store goes on where the store of its backup came to: nothing is left out, and nothing comes
twice unless that is said.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from server.delivery import LinkConfig, LinkState
from storage import Transfer, restore
from tests.faults.delivery.box import (
    LINK,
    Box,
    append,
    bodies,
    config_of,
    fetch,
    message_ids,
    opened,
    running,
    until,
    without_key,
)

PICKY = "CREATE TABLE events (message_id text{}, n bigint CHECK (n < 1000))"


def box_on(path: Path, url: str, link: LinkConfig | None = None) -> AbstractAsyncContextManager[Box]:
    """Delivery without a merge key, if no link is given: what is loaded twice is there twice."""
    return running(path, {"pg": config_of(url)}, [link or without_key()])


async def deliver(path: Path, url: str, *ids: str, link: LinkConfig | None = None) -> str:
    """Take some events, deliver all there is; the link's alarm."""
    async with box_on(path, url, link) as box:
        if ids:
            await append(box.store, bodies(ids))
        await box.drained()
        return box.status().alarm or ""


async def take_in(path: Path, *ids: str) -> None:
    """Events that are not delivered, each committed for itself."""
    async with opened(path) as store:
        for id_ in ids:
            await append(store, bodies([id_]))


async def back_up(path: Path, target: Path) -> None:
    async with opened(path) as store:
        await asyncio.to_thread(store.back_up, target, Transfer())


@pytest.fixture
async def data(tmp_path: Path, database: str) -> Path:
    """A store that was backed up when m1 was delivered, and b1 and b2 were not."""
    await deliver(tmp_path / "data", database, "m1")
    await take_in(tmp_path / "data", "b1", "b2")
    await back_up(tmp_path / "data", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "back", Transfer())
    return tmp_path / "data"


async def test_the_former_store_did_nothing_more(data: Path, tmp_path: Path, database: str) -> None:
    assert await deliver(tmp_path / "back", database, "new") == ""
    assert await message_ids(database) == ["b1", "b2", "m1", "new"]


async def test_the_former_store_delivered_some_of_it(data: Path, tmp_path: Path, database: str) -> None:
    await deliver(data, database)
    # As if it had died behind b1.
    await fetch(database, "DELETE FROM events WHERE message_id = 'b2'")
    await fetch(database, "UPDATE penstock.progress SET last_offset = last_offset - 1")
    assert await deliver(tmp_path / "back", database, "new") == ""
    assert await message_ids(database) == ["b1", "b2", "m1", "new"]


async def test_the_former_store_went_on_beyond_the_backup(data: Path, tmp_path: Path, database: str) -> None:
    await deliver(data, database, "later")
    for turn in range(2):
        assert await deliver(tmp_path / "back", database, f"new{turn}") == ""
    assert await message_ids(database) == ["b1", "b2", "later", "m1", "new0", "new1"]


async def test_the_former_store_was_restored_itself(data: Path, tmp_path: Path, database: str) -> None:
    """And never delivered anything: the one before it did."""
    await deliver(data, database)
    await take_in(tmp_path / "back", "c1")
    await back_up(tmp_path / "back", tmp_path / "backup2")
    restore(tmp_path / "backup2", tmp_path / "third", Transfer())
    assert await deliver(tmp_path / "third", database, "new") == ""
    assert await message_ids(database) == ["b1", "b2", "c1", "m1", "new"]


async def test_the_former_store_was_at_two_databases(tmp_path: Path, database: str, other: str) -> None:
    data, back = tmp_path / "data", tmp_path / "back"
    await deliver(data, database, "m1")
    await deliver(data, other, "m2")
    await back_up(data, tmp_path / "backup")
    await deliver(data, other, "later")
    restore(tmp_path / "backup", back, Transfer())
    for url, id_ in ((database, "m3"), (other, "m4"), (database, "m5")):
        await deliver(back, url, id_)
    assert await message_ids(database) == ["m1", "m3", "m5"]
    assert await message_ids(other) == ["later", "m2", "m4"]


async def test_the_database_is_older_than_the_backup(data: Path, tmp_path: Path, database: str) -> None:
    await fetch(database, "DELETE FROM events")
    await fetch(database, "UPDATE penstock.progress SET last_offset = last_offset - 1, batch_id = ''")
    assert "is delivered again" in await deliver(tmp_path / "back", database, "new")
    assert await message_ids(database) == ["b1", "b2", "m1", "new"]


async def test_a_former_store_that_still_runs_stops_delivering(
    data: Path, tmp_path: Path, database: str
) -> None:
    async with box_on(data, database) as former:
        await former.drained()
        await deliver(tmp_path / "back", database, "new")
        await append(former.store, bodies(["late"]))
        assert "taken over" in ((await former.in_state(LinkState.STOPPED)).alarm or "")
    assert await message_ids(database) == ["b1", "b2", "m1", "new"]


@pytest.mark.parametrize("keyed", [True, False], ids=["merge-key", "no-key"])
async def test_refused_by_the_former_store_after_the_backup(
    tmp_path: Path, database: str, keyed: bool
) -> None:
    """Which events it refused, it alone knew: they come again, and become dead letters here."""
    await fetch(database, PICKY.format(" PRIMARY KEY" if keyed else ""))
    data, link = tmp_path / "data", LINK if keyed else without_key()
    async with opened(data) as store:
        await append(store, bodies(["good"], n=1) + bodies(["bad"], n=1_000))
    await back_up(data, tmp_path / "backup")
    await deliver(data, database, link=link)
    restore(tmp_path / "backup", tmp_path / "back", Transfer())
    async with box_on(tmp_path / "back", database, link) as box:
        await box.drained()
        assert "there twice" in (box.status().alarm or "")
        assert box.delivery.dead_letters.count(LINK.id) == 1
    assert await message_ids(database) == (["good"] if keyed else ["good", "good"])


async def test_a_batch_in_flight_at_the_backup_that_landed(tmp_path: Path, database: str) -> None:
    """Its outcome is in the progress row: nothing comes twice, and its dead letters are known."""
    await fetch(database, PICKY.format(""))
    data = tmp_path / "data"
    async with opened(data) as store:
        await append(store, bodies(["good"], n=1) + bodies(["bad"], n=1_000))
    holder = await asyncpg.connect(database)
    async with holder.transaction():
        await holder.execute("LOCK TABLE events")
        async with box_on(data, database, replace(without_key(), table_name="events")) as box:
            await until(lambda: box.status().state is LinkState.FLUSHING)
            await asyncio.to_thread(box.store.back_up, tmp_path / "backup", Transfer())
            await holder.execute("ROLLBACK; BEGIN")
            await box.drained()
    await holder.close()
    restore(tmp_path / "backup", tmp_path / "back", Transfer())
    async with box_on(tmp_path / "back", database) as box:
        await append(box.store, bodies(["new"], n=2))
        await box.drained()
        assert box.status().alarm is None
        assert (box.status().delivered, box.delivery.dead_letters.count(LINK.id)) == (2, 1)
    assert await message_ids(database) == ["good", "new"]
