"""Tables partitioned by day: which partitions there are, what merges, and that no row waits for one."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from server.warehouse import Limits, RowsRefused

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


def at(moment):
    return moment.isoformat().replace("+00:00", "Z")


def part(moment):
    return f"events:{moment:%Y%m%d}"


async def parts(sql, table="events"):
    found = await sql.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass ORDER BY 1",
        table,
    )
    return [record["name"].strip('"') for record in found]


async def where(sql):
    found = await sql.fetch("SELECT message_id, tableoid::regclass::text AS part FROM events ORDER BY 1")
    return {record["message_id"]: record["part"].strip('"') for record in found}


@pytest.fixture
async def link(make_link):
    return await make_link("daily", partition="day")


async def test_days_are_made_ahead_and_those_of_a_backlog_at_once(link, sql):
    days = {"a": NOW - 3 * DAY, "b": NOW}
    await link.flush(*({"message_id": name, "received_at": at(day)} for name, day in days.items()))
    assert await parts(sql) == sorted([*(part(NOW + n * DAY) for n in range(-3, 3)), "events:default"])
    assert await where(sql) == {name: part(day) for name, day in days.items()}
    found = await sql.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'events'")
    indexes = " ".join(record["indexdef"] for record in found)
    assert "brin (received_at)" in indexes
    assert "(_stream, message_id, received_at)" in indexes


async def test_the_same_event_again_is_one_row_and_a_later_receipt_is_another(link, sql):
    first = {"message_id": "m", "received_at": at(NOW - DAY), "a": 1}
    await link.flush(first, {**first, "b": 2})
    await link.flush({**first, "a": 3}, {"message_id": "m", "received_at": at(NOW)})
    assert await sql.fetch("SELECT a, b FROM events ORDER BY received_at") == [(3, 2), (None, None)]


async def test_odd_days_and_rows_without_a_time_are_kept(link, sql):
    odd = [at(NOW - 4000 * DAY), "2999-01-01T00:00:00Z", "not a time", None]
    await link.flush({"message_id": "now", "received_at": at(NOW)})
    said = [at(NOW), *odd, at(NOW)]
    await link.flush(*({"message_id": f"m{n}", "received_at": say} for n, say in enumerate(said)))
    found = await where(sql)
    assert [found[f"m{n}"] for n in range(6)] == [part(NOW), *["events:default"] * 4, part(NOW)]


async def test_a_day_that_comes_is_added_and_what_waited_for_it_moves(link, sql):
    await link.flush({"message_id": "a", "received_at": at(NOW), "n": 1})
    late = NOW - 5 * DAY
    await sql.execute("INSERT INTO events (message_id, received_at, n) VALUES ('waits', $1, 7)", late)
    assert (await where(sql))["waits"] == "events:default"
    await link.flush({"message_id": "b", "received_at": at(late), "n": 2})
    assert await where(sql) == {"a": part(NOW), "b": part(late), "waits": part(late)}
    assert await sql.fetchval("SELECT n FROM events WHERE message_id = 'waits'") == 7


async def test_a_reader_who_holds_the_table_holds_up_no_row(make_destination, make_link, sql):
    destination = make_destination(Limits(upkeep_lock_timeout_s=0.1))
    link = await make_link("daily", on=destination, partition="day")
    await link.flush({"message_id": "a", "received_at": at(NOW)})
    late = NOW - 5 * DAY
    async with sql.transaction():
        await sql.fetch("SELECT count(*) FROM events")
        await link.flush({"message_id": "b", "received_at": at(late)})
        assert (await where(sql))["b"] == "events:default"
    assert "no partition for every day yet" in destination.warnings[0]


async def test_columns_are_added_to_every_partition(link, sql):
    await link.flush({"message_id": "a", "received_at": at(NOW)})
    await link.flush({"message_id": "b", "received_at": at(NOW - DAY), "late": 1})
    assert await sql.fetchval("SELECT late FROM events WHERE message_id = 'b'") == 1


async def test_many_at_once_make_the_same_days(make_destination, make_link, sql):
    names = [f"l{n}" for n in range(3)]
    patient = Limits(upkeep_lock_timeout_s=10.0)
    links = [await make_link(n, on=make_destination(patient), stream=n, partition="day") for n in names]
    rows = [{"message_id": "m", "received_at": at(NOW - n * DAY)} for n in (0, 9)]
    for row in rows:
        await asyncio.gather(*(link.flush(row) for link in links))
    assert await sql.fetchval("SELECT count(*) FROM events") == 6
    assert len(await parts(sql)) == 5


async def test_without_a_key_rows_are_appended_to_their_days(make_link, sql):
    link = await make_link("plain", partition="day", deduplicate=False)
    await link.flush(*({"message_id": "m", "received_at": at(NOW - n * DAY)} for n in (1, 1, 0)))
    counts = await sql.fetch("SELECT count(*) FROM events GROUP BY tableoid ORDER BY 1")
    assert [record[0] for record in counts] == [1, 2]


async def test_a_table_that_exists_stays_as_it_is_and_says_so(link, make_link, destination, sql):
    await (await make_link("before")).flush({"message_id": "a", "received_at": at(NOW)})
    await link.flush({"message_id": "a", "received_at": at(NOW + DAY), "b": 1})
    assert await sql.fetchval("SELECT relkind FROM pg_class WHERE relname = 'events'") == b"r"
    assert await sql.fetchval("SELECT count(*) FROM events") == 1
    assert destination.warnings == ["table events exists and is not partitioned: it stays as it is"]


async def test_a_poison_row_is_found_in_a_partition(link, sql):
    await link.flush({"message_id": "a", "received_at": at(NOW), "n": 1})
    await sql.execute("ALTER TABLE events ADD CHECK (n < 10)")
    batch = link.batch([{"message_id": f"m{n}", "received_at": at(NOW), "n": n} for n in (8, 9, 10, 9)])
    with pytest.raises(RowsRefused) as raised:
        await link.land(batch)
    assert [refused.offset for refused in raised.value.refusals] == [batch.after_offset + 3]


async def test_the_name_of_a_partition_is_no_name_of_an_event(link, sql):
    await link.flush({"message_id": "a", "received_at": at(NOW)})
    await link.flush({"message_id": "b"}, table=part(NOW))
    assert await sql.fetchval("SELECT count(*) FROM events") == 1


async def test_a_renamed_table_and_a_detached_day_keep_their_names(link, make_destination, make_link, sql):
    await link.flush({"message_id": "a", "received_at": at(NOW)})
    await sql.execute("ALTER TABLE events RENAME TO events_2025")
    await link.flush({"message_id": "b", "received_at": at(NOW)})
    (today,) = [name for name in await parts(sql) if name.startswith(part(NOW))]
    await sql.execute(f'ALTER TABLE events DETACH PARTITION "{today}"')
    later = await make_link("later", make_destination(), partition="day")
    await later.flush({"message_id": "c", "received_at": at(NOW)})
    ((event, name),) = (await where(sql)).items()
    assert (event, name[: len(part(NOW))]) == ("c", part(NOW))
    assert name != today
    assert await sql.fetchval("SELECT count(*) FROM events_2025") == 1


async def test_a_day_is_made_for_a_table_with_a_constraint_too(link, destination, sql):
    await link.flush({"message_id": "a", "received_at": at(NOW), "n": 1})
    await sql.execute("ALTER TABLE events ADD CONSTRAINT positive CHECK (n > 0), ALTER n SET NOT NULL")
    late = NOW - 5 * DAY
    await link.flush({"message_id": "b", "received_at": at(late), "n": 2})
    assert await where(sql) == {"a": part(NOW), "b": part(late)}
    assert destination.warnings == []
    with pytest.raises(RowsRefused):
        await link.flush({"message_id": "c", "received_at": at(late), "n": 0})
