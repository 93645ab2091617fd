"""What the user of the database, or the configuration, changes under a link that runs. On a real Postgres."""

from dataclasses import replace

import pytest

from server.warehouse import Limits, RowsRefused, TableLocked, Unavailable
from server.warehouse.encode import give_way

DAY = "2026-11-21T08:00:00Z"
OWN_KEY = "SELECT indexname FROM pg_indexes WHERE tablename = 'events' AND indexname LIKE 'penstock:key:%'"


def later(number, **more):
    """An event of the one user."""
    return {"message_id": f"m{number}", "user_id": "u", "received_at": DAY, "n": number, **more}


async def gone(sql):
    await sql.execute("DROP TABLE events")


async def renamed(sql):
    await sql.execute("ALTER TABLE events RENAME TO events_2025")


async def without_key(sql):
    await sql.execute(f'DROP INDEX "{await sql.fetchval(OWN_KEY)}"')


async def keyless_of_the_users(sql):
    await sql.execute("DROP TABLE events; CREATE TABLE events (message_id text, user_id text, n bigint)")


async def keyless_of_ours(sql):
    await sql.execute(
        "DROP TABLE events; CREATE TABLE events (_stream text NOT NULL DEFAULT '', user_id text, n bigint);"
        "COMMENT ON TABLE events IS 'penstock: event table of link link'"
    )


@pytest.mark.parametrize("partition", ["none", "day"])
@pytest.mark.parametrize("change", [gone, renamed, without_key, keyless_of_the_users, keyless_of_ours])
@pytest.mark.parametrize("more", [{}, {"brand_new": 1}, {"n": "no number"}])
async def test_a_merging_link_never_goes_on_without_its_key(make_link, sql, partition, change, more):
    link = await make_link("link", primary_key=("user_id",), partition=partition)
    await link.flush(later(0))
    await link.flush(later(1))
    await change(sql)
    for number in range(2, 5):
        await link.flush(later(number, **more))
    assert await sql.fetchval("SELECT count(*) FROM events") == 1
    assert await sql.fetchval("SELECT message_id FROM events") == "m4"


@pytest.mark.parametrize("deduplicate", [True, False])
async def test_a_table_made_again_is_as_at_a_start(make_link, sql, deduplicate):
    """The next event brings a new column."""
    link = await make_link("daily", partition="day", deduplicate=deduplicate)
    shape = (
        "SELECT relkind::text, (SELECT count(*) FROM pg_inherits WHERE inhparent = c.oid),"
        " ARRAY(SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') FROM pg_index"
        " WHERE indrelid = c.oid ORDER BY 1) FROM pg_class c WHERE oid = 'events'::regclass"
    )
    await link.flush(later(0))
    before = await sql.fetchrow(shape)
    await sql.execute("DROP TABLE events")
    await link.flush(later(1, brand_new=1))
    assert await sql.fetchrow(shape) == before
    assert await sql.fetchval("SELECT brand_new FROM events") == 1


async def test_another_link_plans_for_a_table_that_is_gone_as_for_a_new_one(link, make_link, sql):
    plain = await make_link("plain", deduplicate=False)
    await plain.flush(later(0))
    await sql.execute("DROP TABLE events")
    await link.flush(later(1))
    await link.flush(later(1))
    assert await sql.fetchval("SELECT count(*) FROM events") == 1
    assert "timestamp" in await sql.fetchval(
        "SELECT array_agg(indexdef)::text FROM pg_indexes WHERE tablename = 'events'"
    )


async def test_a_key_that_cannot_be_made_again_stops_the_link_and_says_so(link, sql):
    await link.flush(later(0))
    await without_key(sql)
    await sql.execute("INSERT INTO events SELECT * FROM events")
    with pytest.raises(Unavailable, match="change table") as raised:
        await link.flush(later(1, brand_new=1))
    assert "deduplicate" in raised.value.hint


async def test_columns_that_could_not_be_made_use_up_no_budget(make_destination, make_link, sql):
    limits = Limits(new_columns_per_minute=5, lock_timeout_s=0.1)
    link = await make_link(on=make_destination(limits))
    await link.flush({"message_id": "m"})
    row = {"message_id": "n", **{f"c{at}": at for at in range(5)}}
    async with sql.transaction():
        await sql.execute("LOCK TABLE events IN ROW EXCLUSIVE MODE")
        for _ in range(2):
            with pytest.raises(TableLocked):
                await link.flush(row)
    assert (await link.flush(row)).unmapped_values == 0
    assert (await link.flush({"message_id": "o", "late": 1})).overflow_values == 1


async def test_room_for_tables_that_were_dropped_is_found_again(make_destination, make_link, sql):
    link = await make_link(on=make_destination(Limits(tables_max=2, upkeep_retry_s=0.0)))
    for name, spare in (("one", 0), ("two", 0), ("three", 1)):
        assert (await link.flush({"message_id": "m"}, table=name)).overflow_rows == spare
    await sql.execute("DROP TABLE one")
    for name, spare in (("four", 0), ("one", 1), ("two", 0), ("three", 1)):
        assert (await link.flush({"message_id": "m"}, table=name)).overflow_rows == spare


async def test_a_row_that_finds_its_table_dropped_and_no_room_is_in_the_generic_one(
    make_destination, make_link, sql
):
    """Though what was encoded ahead for that one does not hold the row."""
    link = await make_link(on=make_destination(Limits(tables_max=1, upkeep_retry_s=0.0)))
    for table in ("one", "events"):
        await link.flush({"message_id": "m"}, table=table)
    rows = [{"message_id": "a"}, {"message_id": "b"}]
    batch = link.batch(rows)
    batch.rows[0].table = "one"
    encoded = await link.destination.encode_ahead(link.key.link_id, batch.rows, link.options, give_way)
    assert encoded is not None
    await sql.execute("DROP TABLE one")
    await link.flush({"message_id": "m"}, table="two")
    moved = link.batch(rows)
    moved.rows[0].table = "one"
    assert (await link.land(replace(moved, encoded=encoded))).overflow_rows == 1
    assert await sql.fetchval("SELECT array_agg(message_id ORDER BY message_id) FROM events") == [
        "a",
        "b",
        "m",
    ]


async def test_tables_that_are_yet_to_be_made_are_counted_too(make_destination, make_link, sql):
    """A batch that did not land comes again with the tables that it was let make."""
    link = await make_link(on=make_destination(Limits(tables_max=2, upkeep_retry_s=0.0)))
    await sql.execute("CREATE TYPE one AS ENUM ('ok')")
    batch = link.batch([{"message_id": name} for name in ("one", "two", "three")])
    for row in batch.rows:
        row.table = row.values["message_id"]
    with pytest.raises(RowsRefused):
        await link.land(batch)
    await sql.execute("DROP TYPE one")
    assert (await link.land(batch)).overflow_rows == 1


async def test_the_generic_table_takes_no_room_of_others(make_destination, make_link):
    for name in ("one", "events", "two"):
        link = await make_link(on=make_destination(Limits(tables_max=2)))
        assert (await link.flush({"message_id": "m"}, table=name)).overflow_rows == 0


async def test_tables_are_counted_again_now_and_then_only(make_destination, make_link, sql):
    link = await make_link(on=make_destination(Limits(tables_max=1)))
    await link.flush({"message_id": "m"}, table="one")
    await sql.execute("DROP TABLE one")
    assert (await link.flush({"message_id": "m"}, table="two")).overflow_rows == 1


@pytest.mark.parametrize("partition", ["none", "day"])
@pytest.mark.parametrize("change", [{"deduplicate": False}, {"primary_key": ()}])
async def test_a_link_that_no_longer_merges_drops_the_key_that_it_made(make_link, sql, partition, change):
    link = await make_link("link", primary_key=("user_id",), partition=partition)
    await link.flush(later(0))
    await link.flush(later(1))
    link.options = replace(link.options, **change)
    await link.flush(later(2), later(3))
    await link.flush(later(4))
    assert await sql.fetch("SELECT n FROM events ORDER BY n") == [(1,), (2,), (3,), (4,)]


async def test_a_key_made_for_a_former_primary_key_goes_though_the_user_made_the_new_one(link, sql):
    link.options = replace(link.options, primary_key=("user_id",))
    await link.flush(later(0))
    await sql.execute("CREATE UNIQUE INDEX ON events (_stream, message_id)")
    link.options = replace(link.options, primary_key=("message_id",))
    await link.flush(later(1), later(1), later(2))
    assert await sql.fetchval("SELECT count(*) FROM events") == 3


async def test_a_key_that_the_users_own_implies_stays(link, sql):
    await sql.execute("CREATE TABLE events (message_id text)")
    await link.flush(later(0))
    made = await sql.fetchval(OWN_KEY)
    await sql.execute("ALTER TABLE events ADD PRIMARY KEY (message_id)")
    await link.flush(later(0, brand_new=1))
    assert await sql.fetchval("SELECT count(*) FROM events") == 1
    assert await sql.fetchval(OWN_KEY) == made


async def test_another_link_that_merged_by_the_dropped_key_makes_it_anew_or_stops(link, make_link, sql):
    other = await make_link("other", stream="app")
    await link.flush(later(0))
    await other.flush(later(0))
    link.options = replace(link.options, deduplicate=False)
    await link.flush(later(1))
    await other.flush(later(0))
    assert await sql.fetchval("SELECT count(*) FROM events WHERE _stream = 'app'") == 1
    await without_key(sql)
    await link.flush(later(1))
    with pytest.raises(Unavailable, match="unique index"):
        await other.flush(later(0))


@pytest.mark.parametrize("comment", [None, "penstock: merge key of link other"])
async def test_only_the_links_own_key_is_dropped(link, sql, comment):
    await sql.execute("CREATE TABLE events (message_id text, n bigint)")
    await sql.execute("CREATE UNIQUE INDEX mine ON events (message_id)")
    if comment:
        await sql.execute(f"COMMENT ON INDEX mine IS '{comment}'")
    link.options = replace(link.options, deduplicate=False)
    await link.flush({"message_id": "m"})
    assert await sql.fetchval("SELECT to_regclass('mine') IS NOT NULL")


async def test_a_key_that_cannot_be_dropped_stops_the_link_and_says_why(link, sql):
    await link.flush(later(0))
    await sql.execute(
        "CREATE TABLE notes (_stream text, message_id text,"
        " FOREIGN KEY (_stream, message_id) REFERENCES events (_stream, message_id))"
    )
    link.options = replace(link.options, deduplicate=False)
    with pytest.raises(Unavailable, match="other objects depend on it"):
        await link.flush(later(0))
    assert await sql.fetchval("SELECT count(*) FROM events") == 1
