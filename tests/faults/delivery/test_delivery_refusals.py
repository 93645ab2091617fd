"""Events that do not land: dead letters with reasons, holes, the breaker, and no room for dead letters."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.delivery import Fate, LinkState
from server.delivery.breaker import ALIKE_MAX
from server.delivery.stamps import LayoutName
from server.ingest import restore
from storage import Append, Delete, Put, StoreFull, StoreOptions
from tests.faults.delivery import box as boxes
from tests.faults.delivery.box import (
    LINK,
    PLACES,
    STREAM,
    Box,
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

PICKY = "CREATE TABLE events (message_id text PRIMARY KEY, n bigint CHECK (n < 1000))"


def numbered(*numbers: int) -> list[dict[str, Any]]:
    """Events m0000, m0001, … whose property `n` are these numbers."""
    return [body for at, n in enumerate(numbers) for body in bodies([f"m{at:04}"], n=n)]


async def test_a_poison_row_is_a_dead_letter_and_the_rest_lands(tmp_path: Path, database: str) -> None:
    await fetch(database, PICKY)
    await fill(tmp_path, numbered(1, 2, 1_003, 4, 1_005, 6))
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.drained()
        letters = box.delivery.dead_letters.page(LINK.id)
        assert [letter.sqlstate for letter in letters] == ["23514", "23514"]
        assert "events_n_check" in letters[0].reason
        assert box.delivery.dead_letters.count(LINK.id) == 2
        assert (box.status().delivered, box.status().dead_letters) == (4, 2)
        payload = box.delivery.dead_letters.payload(LINK.id, letters[0].offset)
        assert payload is not None
        assert restore(payload.head, payload.item)["messageId"] == "m0002"
        first = box.store.wal.first(STREAM)
        assert first is not None
        fates = [outcome.fate for at in range(6) for outcome in box.delivery.link_outcome(STREAM, first + at)]
    dead, landed = Fate.DEAD_LETTERED, Fate.DELIVERED
    assert fates == [landed, landed, dead, landed, dead, landed]
    assert await message_ids(database) == ["m0000", "m0001", "m0003", "m0005"]


@pytest.mark.parametrize("layout", PLACES)
async def test_a_poison_row_takes_all_rows_of_its_event_along(
    layout: LayoutName, tmp_path: Path, database: str
) -> None:
    place, link = PLACES[layout], replace(without_key(), layout=layout)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await append(box.store, bodies(["first"], n=1))
        await box.drained()
        await fetch(database, f'ALTER TABLE "{place.tables[-1]}" ADD CHECK ("{place.n}" < 1000)')
        await append(box.store, numbered(1, 2, 1_003, 4))
        await box.drained()
        (letter,) = box.delivery.dead_letters.page(link.id)
        assert letter.sqlstate == "23514"
        assert (box.status().delivered, box.status().dead_letters) == (4, 1)
    assert await landed(database, layout) == ["first", "m0000", "m0001", "m0003"]


async def test_a_reason_is_cut_though_the_server_quotes_a_whole_value(tmp_path: Path, database: str) -> None:
    await fetch(database, "CREATE TABLE events (message_id text PRIMARY KEY, ip inet)")
    await fill(tmp_path, [*bodies(["m1"], ip="x" * 50_000), *bodies(["m2"], ip="10.0.0.1")])
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.drained()
        (letter,) = box.delivery.dead_letters.page(LINK.id)
        assert letter.reason.startswith("invalid input syntax for type inet: ")
        assert letter.reason.endswith("… (22P02)")
        assert len(letter.reason) < 500
    (row,) = await fetch(database, "SELECT length(outcome) AS outcome_bytes FROM penstock.progress")
    assert row["outcome_bytes"] < 1_000


async def test_a_full_catalog_holds_up_only_who_has_dead_letters(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(database, PICKY)
    monkeypatch.setattr(boxes, "OPTIONS", StoreOptions(free_bytes_min=0, catalog_bytes_max=200_000))
    links = [LINK, replace(LINK, id="other", table_name="others")]
    async with running(tmp_path, {"pg": config_of(database)}, links) as box:
        await append(box.store, bodies(["m1"]))
        await box.drained()
        await box.drained("other")
        keys = [b"%d" % number for number in range(2_000)]
        with suppress(StoreFull):
            for key in keys:
                await box.store.catalog.write([Put("pile", key, bytes(100))])
        await append(box.store, bodies(["m2"]))
        await box.drained()
        await append(box.store, bodies(["m3"], n=1_000))
        await box.drained("other")
        await until(lambda: "catalog" in (box.status().last_error or ""))
        assert (box.status("other").delivered, box.status().dead_letters) == (3, 0)
        await box.store.catalog.write([Delete("pile", key) for key in keys])
        await box.drained()
        assert (box.status().delivered, box.status().dead_letters) == (2, 1)
    assert await message_ids(database) == ["m1", "m2"]


async def test_dead_letters_are_listed_in_pages(tmp_path: Path, database: str) -> None:
    await fetch(database, PICKY)
    await fill(tmp_path, numbered(*([1, 1_000] * 5)))
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.drained()
        letters = box.delivery.dead_letters
        whole = letters.page(LINK.id)
        assert len(whole) == 5
        assert letters.page(LINK.id, limit=2) + letters.page(LINK.id, whole[1].offset, 9) == whole
        assert letters.page("lin") == []
        assert letters.get(LINK.id, whole[0].offset) == whole[0]
        assert letters.get(LINK.id, whole[0].offset - 1) is None


async def test_many_alike_pause_the_link_instead(tmp_path: Path, database: str) -> None:
    await fetch(database, PICKY)
    await fill(tmp_path, numbered(1, *([1_000] * ALIKE_MAX), 2))
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        status = await box.in_state(LinkState.PAUSED)
        assert status.alarm is not None
        assert "refused alike" in status.alarm
        assert status.next_attempt_ms is not None
        assert (status.delivered, status.dead_letters) == (0, 0)
        await fetch(database, "ALTER TABLE events DROP CONSTRAINT events_n_check")
        await box.drained()
        assert (box.status().alarm, box.status().dead_letters) == (None, 0)
    assert len(await message_ids(database)) == ALIKE_MAX + 2


async def test_the_breaker_counts_over_batches(tmp_path: Path, database: str) -> None:
    await fetch(database, PICKY)
    await fill(tmp_path, numbered(*([1_000] * 2 * ALIKE_MAX)))
    link = replace(LINK, batch_events_max=ALIKE_MAX // 2)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await box.in_state(LinkState.PAUSED)
        assert box.status().dead_letters == ALIKE_MAX // 2


async def test_what_cannot_be_decoded_is_a_dead_letter(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, bodies(["m1"]))
        await box.store.wal.append(Append(STREAM, b"not a head", [b"{}"], [7])).durable()
        await append(box.store, bodies(["m2"]))
        await box.drained()
        (letter,) = box.delivery.dead_letters.page(LINK.id)
        assert letter.reason.startswith("cannot be decoded")
        assert letter.sqlstate == ""
    assert await message_ids(database) == ["m1", "m2"]


async def test_a_hole_is_counted_and_stepped_over(tmp_path: Path, database: str) -> None:
    for turn in range(3):
        await fill(tmp_path, bodies([f"m{turn}"]))
    _, middle, *_ = sorted((tmp_path / "wal").glob("*.lmdb"))
    middle.write_bytes(b"damaged" * 1_000)
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.drained()
        status = box.status()
        assert (status.delivered, status.dropped) == (2, 1)
        lost = box.store.wal.holes()[0][1].last
        (outcome,) = box.delivery.link_outcome(STREAM, lost)
        assert outcome.fate is Fate.DROPPED
    assert await message_ids(database) == ["m0", "m2"]


async def test_a_segment_that_vanishes_while_the_server_runs_is_a_hole(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.delivery.pause(LINK.id)
    for turn in range(3):
        await fill(tmp_path, bodies([f"m{turn}"]))
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.in_state(LinkState.PAUSED)
        _, middle, *_ = sorted((tmp_path / "wal").glob("*.lmdb"))
        middle.unlink()
        await box.delivery.resume(LINK.id)
        await box.drained()
        assert (box.status().delivered, box.status().dropped, box.status().last_error) == (2, 1, None)
    assert await message_ids(database) == ["m0", "m2"]


async def test_a_link_keeps_no_names_of_tables_though_clients_choose_them(
    tmp_path: Path, database: str
) -> None:
    events = [body | {"event": f"name {n}"} for n, body in enumerate(bodies([f"m{n}" for n in range(6)]))]
    async with running(tmp_path, {"pg": config_of(database)}, [replace(LINK, layout="segment")]) as box:
        await append(box.store, events)
        await box.drained()
        assert len(box.delivery._flushers[LINK.id]._tables) == 2


async def test_no_room_for_dead_letters_pauses_and_loses_nothing(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fetch(database, PICKY)
    events = [body | {"context": {"pad": "x" * 50_000}} for body in numbered(1_000, 1)]
    await fill(tmp_path, events)
    with monkeypatch.context() as small:
        small.setattr(boxes, "OPTIONS", StoreOptions(free_bytes_min=0, scratch_bytes_max=20_000))
        async with running(tmp_path, {"pg": config_of(database)}) as box:
            await until(lambda: "scratch" in (box.status().last_error or ""))
            assert box.status().dead_letters == 0
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await box.drained()
        assert payload_ids(box) == ["m0000"]
    assert await message_ids(database) == ["m0001"]


def payload_ids(box: Box) -> list[str]:
    """The message ids of the dead letters' payloads."""
    letters = box.delivery.dead_letters
    payloads = [letters.payload(LINK.id, letter.offset) for letter in letters.page(LINK.id)]
    return [restore(payload.head, payload.item)["messageId"] for payload in payloads if payload]
