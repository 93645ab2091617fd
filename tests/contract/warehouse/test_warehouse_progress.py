"""Progress against a real Postgres: every row of ARCHITECTURE.md's table, epochs, the outcome."""

import asyncio
from dataclasses import replace

import pytest

from server.warehouse import (
    Foreign,
    InDoubt,
    LinkKey,
    LocalProgress,
    OutOfStep,
    TableLocked,
    TakeoverCase,
    Unavailable,
)

KEY = LinkKey("store", "link", 1)


async def landed(link, last=5, outcome=b"out"):
    batch = link.batch([{"message_id": f"m{at}"} for at in range(last - link.last)], outcome=outcome)
    await link.land(batch)
    return batch


async def test_first_contact_makes_schema_and_row(destination, sql):
    taken = await destination.take_over(KEY, LocalProgress(0, 0))
    assert (taken.case, taken.epoch, taken.resume_after) == (TakeoverCase.FIRST, 1, 0)
    assert await sql.fetchval("SELECT epoch FROM penstock.progress") == 1


async def test_an_absent_row_goes_on_from_the_local_checkpoint_with_a_warning(destination):
    taken = await destination.take_over(KEY, LocalProgress(4, 70))
    assert (taken.case, taken.epoch, taken.resume_after) == (TakeoverCase.ABSENT, 5, 70)
    assert "no progress" in taken.warning


async def test_equal_goes_on(link, destination):
    await landed(link)
    doubt = InDoubt("b9", 9)  # was sent, did not land
    taken = await destination.take_over(KEY, LocalProgress(link.epoch, 5, doubt))
    assert (taken.case, taken.resume_after, taken.warning, taken.foreign) == (
        TakeoverCase.EQUAL,
        5,
        "",
        False,
    )


async def test_an_in_doubt_batch_that_landed_brings_its_outcome(link, destination):
    batch = await landed(link)
    local = LocalProgress(link.epoch, 0, InDoubt(batch.batch_id, 5))
    taken = await destination.take_over(KEY, local)
    assert (taken.case, taken.resume_after, taken.outcome) == (TakeoverCase.LANDED, 5, b"out")


async def test_behind_redelivers_from_the_rows_offset(link, destination):
    await landed(link)
    taken = await destination.take_over(KEY, LocalProgress(link.epoch, 9))
    assert (taken.case, taken.resume_after) == (TakeoverCase.BEHIND, 5)
    assert "restored" in taken.warning


async def test_ahead_is_never_taken_for_delivered(link, destination, sql):
    await landed(link)
    taken = await destination.take_over(KEY, LocalProgress(link.epoch, 2))
    assert (taken.case, taken.resume_after) == (TakeoverCase.AHEAD, 2)
    assert taken.key == replace(KEY, generation=2)
    again = await destination.take_over(KEY, LocalProgress(link.epoch, 2))  # the new generation was not kept
    assert again.key.generation == 3
    assert await sql.fetchval("SELECT last_offset FROM penstock.progress WHERE generation = 1") == 5


async def test_a_batch_id_of_another_batch_at_that_offset_is_ahead(link, destination):
    await landed(link)
    taken = await destination.take_over(KEY, LocalProgress(link.epoch, 0, InDoubt("another", 5)))
    assert taken.case is TakeoverCase.AHEAD


async def test_another_schema_is_noticed(link, make_destination):
    await landed(link)
    taken = await make_destination(schema="elsewhere").take_over(KEY, LocalProgress(link.epoch, 5))
    assert (taken.case, taken.changed) == (TakeoverCase.EQUAL, True)
    assert "elsewhere" in taken.warning


async def test_the_older_process_stops_once_it_is_overtaken(link, destination, sql):
    await landed(link)
    newer = await destination.take_over(KEY, LocalProgress(link.epoch, 5))
    with pytest.raises(Foreign, match="taken over"):
        await link.flush({"message_id": "late"})
    assert newer.epoch > link.epoch
    assert await sql.fetchval("SELECT count(*) FROM events WHERE message_id = 'late'") == 0
    assert (await destination.take_over(KEY, LocalProgress(1, 5))).foreign


async def test_a_batch_lands_once(link, sql):
    batch = await landed(link)
    assert (await link.land(batch)).already_landed
    assert await sql.fetchval("SELECT count(*) FROM events") == 5


async def test_a_restored_database_asks_for_a_new_take_over(link, destination, sql):
    await landed(link)
    await sql.execute("UPDATE penstock.progress SET last_offset = 3, batch_id = 'old'")
    with pytest.raises(OutOfStep, match="stands at offset 3"):
        await link.flush({"message_id": "n"})
    taken = await destination.take_over(KEY, LocalProgress(link.epoch, 5))
    assert (taken.case, taken.resume_after) == (TakeoverCase.BEHIND, 3)


async def test_a_vanished_row_asks_for_a_new_take_over(link, sql):
    await landed(link)
    await sql.execute("DELETE FROM penstock.progress")
    with pytest.raises(OutOfStep, match="gone"):
        await link.flush({"message_id": "n"})


async def test_a_batch_without_rows_moves_the_row_and_keeps_its_outcome(link, sql):
    batch = replace(link.batch([], outcome=b"all dropped"), last_offset=44)
    await link.land(batch)
    row = await sql.fetchrow("SELECT last_offset, batch_id, outcome FROM penstock.progress")
    assert tuple(row) == (44, batch.batch_id, b"all dropped")
    assert await sql.fetchval("SELECT to_regclass('events')") is None


async def test_links_and_stores_do_not_share_progress(destination):
    await destination.take_over(KEY, LocalProgress(0, 0))
    for other in (replace(KEY, link_id="b"), replace(KEY, store_id="b"), replace(KEY, generation=2)):
        assert (await destination.take_over(other, LocalProgress(0, 0))).case is TakeoverCase.FIRST


async def test_many_processes_meet_an_empty_database_at_once(make_destination):
    destinations = [make_destination() for _ in range(6)]
    keys = [replace(KEY, link_id=f"l{at}") for at in range(6)]
    taken = await asyncio.gather(
        *(d.take_over(key, LocalProgress(0, 0)) for d, key in zip(destinations, keys, strict=True))
    )
    assert {one.case for one in taken} == {TakeoverCase.FIRST}


async def test_take_overs_of_one_link_at_once_get_different_epochs(make_destination):
    taken = await asyncio.gather(*(make_destination().take_over(KEY, LocalProgress(0, 0)) for _ in range(4)))
    assert len({one.epoch for one in taken}) == 4


async def test_a_locked_progress_row_says_so(link, sql):
    batch = link.batch([{"message_id": "m"}])
    async with sql.transaction():
        await sql.execute("LOCK TABLE penstock.progress")
        with pytest.raises(Unavailable, match="another session holds the row of link link") as raised:
            await link.land(batch)
        assert not isinstance(raised.value, TableLocked)
    assert (await link.land(batch)).rows == 1
