"""Either side put back from an older copy: nothing new is taken for delivered, and it is said."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from server.delivery import Fate
from server.delivery.stamps import LayoutName
from tests.faults.delivery.box import (
    LINK,
    PLACES,
    STREAM,
    append,
    bodies,
    config_of,
    fetch,
    fill,
    landed,
    message_ids,
    running,
    until,
    without_key,
)


@pytest.mark.parametrize("layout", PLACES)
async def test_a_store_put_back_from_an_old_copy(layout: LayoutName, tmp_path: Path, database: str) -> None:
    links = [replace(LINK, layout=layout)]
    store, copy = tmp_path / "store", tmp_path / "copy"
    destinations = {"pg": config_of(database)}
    async with running(store, destinations, links) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
    shutil.copytree(store, copy)
    async with running(store, destinations, links) as box:
        await append(box.store, bodies(["m2", "m3"]))
        await box.drained()
    for turn in range(2):
        async with running(copy, destinations, links) as box:
            await append(box.store, bodies([f"new{turn}"]))
            await box.drained()
            assert ("ahead" in (box.status().alarm or "")) == (turn == 0)
    assert await landed(database, layout) == ["m1", "m2", "m3", "new0", "new1"]


@pytest.mark.parametrize("layout", PLACES)
async def test_a_database_put_back_gets_again_what_it_lost(
    layout: LayoutName, tmp_path: Path, database: str
) -> None:
    links = [replace(LINK, layout=layout)]
    destinations = {"pg": config_of(database)}
    async with running(tmp_path, destinations, links) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
    kept = await fetch(database, "SELECT last_offset FROM penstock.progress")
    async with running(tmp_path, destinations, links) as box:
        await append(box.store, bodies(["m2"]))
        await box.drained()
    for table in PLACES[layout].tables:
        await fetch(database, f"DELETE FROM {table} WHERE \"{PLACES[layout].id}\" = 'm2'")
    await fetch(database, f"UPDATE penstock.progress SET last_offset = {kept[0][0]}, batch_id = ''")
    async with running(tmp_path, destinations, links) as box:
        await append(box.store, bodies(["m3"]))
        await box.drained()
        assert "behind" in (box.status().alarm or "")
    assert await landed(database, layout) == ["m1", "m2", "m3"]


async def test_what_was_refused_by_a_database_put_back_and_lands_then_is_no_dead_letter(
    tmp_path: Path, database: str
) -> None:
    destinations = {"pg": config_of(database)}
    async with running(tmp_path, destinations) as box:
        await append(box.store, bodies(["m1"], n=1))
        await box.drained()
        kept = await fetch(database, "SELECT last_offset FROM penstock.progress")
        for n in (9, 6):
            await fetch(database, f"ALTER TABLE events ADD CONSTRAINT below{n} CHECK (n < {n})")
        await append(box.store, [body for n in (7, 2, 99) for body in bodies([f"n{n}"], n=n)])
        await box.drained()
        assert box.delivery.dead_letters.count(LINK.id) == 2
    await fetch(database, "DELETE FROM events WHERE message_id = 'n2'")
    await fetch(database, "ALTER TABLE events DROP CONSTRAINT below6")
    await fetch(database, f"UPDATE penstock.progress SET last_offset = {kept[0][0]}, batch_id = ''")
    async with running(tmp_path, destinations) as box:
        await append(box.store, bodies(["m3"]))
        await box.drained()
        (letter,) = box.delivery.dead_letters.page(LINK.id)
        assert "below9" in letter.reason
        offsets = range(letter.offset - 2, letter.offset + 1)
        fates = [outcome.fate for at in offsets for outcome in box.delivery.link_outcome(STREAM, at)]
        assert fates == [Fate.DELIVERED, Fate.DELIVERED, Fate.DEAD_LETTERED]
        payloads = [box.delivery.dead_letters.payload(LINK.id, at) is not None for at in offsets]
        assert payloads == [False, False, True]
    assert await message_ids(database) == ["m1", "m3", "n2", "n7"]


async def test_an_outcome_that_somebody_altered_is_named_and_the_remedy_works(
    tmp_path: Path, database: str
) -> None:
    destinations = {"pg": config_of(database)}
    async with running(tmp_path, destinations) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        store_id = box.store.store_id
    await fetch(database, "UPDATE penstock.progress SET outcome = '\\x01'")
    async with running(tmp_path, destinations) as box:
        await append(box.store, bodies(["m2"]))
        await until(lambda: box.status().last_error is not None)
        said = box.status().last_error or ""
        assert f"penstock.progress with store_id '{store_id}', link_id 'link', generation 1" in said
        assert "delete that row" in said
        await fetch(database, "DELETE FROM penstock.progress")
        await box.drained()
    assert await message_ids(database) == ["m1", "m2"]


async def test_a_new_link_reads_what_is_retained(tmp_path: Path, database: str) -> None:
    await fill(tmp_path, bodies(["m1"]))
    await fill(tmp_path, bodies(["m2"]))
    oldest, *_ = sorted((tmp_path / "wal").glob("*.lmdb"))
    oldest.unlink()
    oldest.with_suffix(".ids").unlink(missing_ok=True)
    async with running(tmp_path, {"pg": config_of(database)}, [without_key()]) as box:
        await box.drained()
        assert (box.status().delivered, box.status().dropped) == (1, 0)
        assert box.status(LINK.id).alarm is None
    assert await message_ids(database) == ["m2"]
