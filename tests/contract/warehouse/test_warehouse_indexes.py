"""The index on timestampColumn: on new tables at once, on those that exist in the background, never twice."""

import asyncio

import pytest

from server.warehouse import Limits
from tests.contract.warehouse.conftest import LIMITS
from tests.contract.warehouse.test_warehouse_tables import T0, columns

BUILT_S = 10.0


async def indexes(sql, column="timestamp"):
    found = await sql.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'events'")
    return [record["indexdef"] for record in found if f"({column})" in record["indexdef"].replace('"', "")]


async def built(destination):
    """The builds under way have ended."""
    async with asyncio.timeout(BUILT_S):
        await asyncio.gather(*destination._upkeep._builds)


async def test_a_table_that_exists_gets_its_index_once(make_destination, make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY, timestamp timestamptz)")
    destinations = [make_destination(), make_destination()]
    for destination in destinations * 2:
        await (await make_link(on=destination)).flush({"message_id": "m"})
        await built(destination)
    assert len(await indexes(sql)) == 1
    assert destinations[0].warnings == destinations[1].warnings == []


async def test_two_processes_build_it_together_once(make_destination, make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY, timestamp timestamptz)")
    await sql.execute("INSERT INTO events SELECT n::text, now() FROM generate_series(1, 20000) n")
    destinations = [make_destination(), make_destination()]
    links = [await make_link(f"l{n}", on=destination) for n, destination in enumerate(destinations)]
    await asyncio.gather(*(link.flush({"message_id": f"m{n}"}) for n, link in enumerate(links)))
    await asyncio.gather(*map(built, destinations))
    assert len(await indexes(sql)) == 1


async def test_rows_flow_while_it_is_built(make_destination, make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY, timestamp timestamptz)")
    link = await make_link(on=make_destination())
    async with sql.transaction():
        await sql.execute("INSERT INTO events VALUES ('open', now())")  # the build waits for it
        await link.flush({"message_id": "a"})
        await link.flush({"message_id": "b"})
        assert link.destination._upkeep._builds
    await built(link.destination)
    assert len(await indexes(sql)) == 1


async def test_a_build_that_failed_is_told_and_done_again(make_destination, make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY, timestamp timestamptz)")
    destination = make_destination(Limits(lock_timeout_s=0.2, upkeep_retry_s=0.0))
    link = await make_link(on=destination)
    async with sql.transaction():
        await sql.execute("INSERT INTO events VALUES ('open', now())")
        await link.flush({"message_id": "a"})
        await built(destination)
        assert 'no index on "timestamp" yet' in destination.warnings[0]
    await link.flush({"message_id": "b"})
    await built(destination)
    assert (len(await indexes(sql)), destination.warnings) == (1, [])
    assert await sql.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


async def test_a_renamed_table_keeps_its_index(make_destination, make_link, sql):
    for name in ("events_2025", "events_2026"):
        await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY, timestamp timestamptz)")
        link = await make_link(on=make_destination())
        await link.flush({"message_id": "m"})
        await built(link.destination)
        assert len(await indexes(sql)) == 1
        await sql.execute(
            f"ALTER TABLE events RENAME TO {name}; ALTER INDEX events_pkey RENAME TO {name}_pkey"
        )
    found = await sql.fetch("SELECT tablename FROM pg_indexes WHERE indexdef LIKE '%(\"timestamp\")'")
    assert {record["tablename"] for record in found} == {"events_2025", "events_2026"}


@pytest.mark.parametrize("kind", ["text", "bigint", "timestamp"])
async def test_a_column_of_another_type_gets_none_and_a_warning(link, sql, kind):
    await sql.execute(f"CREATE TABLE events (message_id text PRIMARY KEY, timestamp {kind})")
    await link.flush({"message_id": "m"})
    await built(link.destination)
    assert await indexes(sql) == []
    assert "not timestamp with time zone: it gets no index" in link.destination.warnings[0]


async def test_a_partitioned_table_gets_its_index_too(make_destination, make_link, sql):
    before = await make_link("before", partition="day", timestamp_column=None)
    await before.flush({"message_id": "a", "received_at": T0, "sent_at": T0})
    link = await make_link("after", on=make_destination(LIMITS), timestamp_column="sent_at")
    await link.flush({"message_id": "b"})
    await built(link.destination)
    assert (await columns(sql))["sent_at"] == "timestamp with time zone"
    assert len(await indexes(sql, "sent_at")) == 1


async def test_closing_gives_up_a_build(make_destination, make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY, timestamp timestamptz)")
    link = await make_link(on=make_destination())
    async with sql.transaction():
        await sql.execute("INSERT INTO events VALUES ('open', now())")
        await link.flush({"message_id": "a"})
        async with asyncio.timeout(BUILT_S):
            while not await sql.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid"):
                pass  # the build is not under way yet
            await link.destination.close()
