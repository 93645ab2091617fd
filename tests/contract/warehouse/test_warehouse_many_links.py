"""Hundreds of links on a few connections: all progress, none starves, and the server sees only those few."""

import asyncio
from collections import Counter
from dataclasses import replace

import asyncpg
import pytest

from server.warehouse import Destination, LinkKey, Row
from server.warehouse.merge import STAGING_MAX
from tests.conftest import fresh_database
from tests.contract.warehouse.conftest import LIMITS, OPTIONS, Link, config_of
from tests.running import Penstock, configuration, delivered, free_port, rows, track

LINKS = 300
CONNECTIONS = 4
ROUNDS = 2


async def many(destination, count=LINKS):
    """Links with streams of their own, over ten tables."""
    links = [
        Link(
            destination, LinkKey("store", f"l{n}", 1), replace(OPTIONS, stream=f"s{n}", timestamp_column=None)
        )
        for n in range(count)
    ]
    await asyncio.gather(*(link.take_over() for link in links))
    return links


@pytest.fixture
async def destination(config):
    destination = Destination(config, CONNECTIONS, LIMITS)
    yield destination
    await destination.close()


async def connections(sql):
    ours = "application_name = 'penstock' AND datname = current_database()"
    return await sql.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")


async def test_all_links_progress_in_turn_on_few_connections(destination, sql):
    order, seen = [], []

    async def run(number, link):
        for round_ in range(ROUNDS):
            rows = [{"message_id": f"m{round_}-{n}", "a": n} for n in range(5)]
            await link.flush(*rows, table=f"t{number % 10}")
            order.append(number)
            if number == 0:
                seen.append(await connections(sql))

    links = await many(destination)
    await asyncio.gather(*(run(number, link) for number, link in enumerate(links)))
    first = Counter(order[: LINKS + 2 * CONNECTIONS])  # nobody is a round ahead but for who is in flight
    assert set(first) == set(range(LINKS))
    assert 0 < max(seen) <= CONNECTIONS
    totals = [await sql.fetchval(f"SELECT count(*) FROM t{n}") for n in range(10)]
    assert totals == [LINKS // 10 * ROUNDS * 5] * 10


async def test_a_slow_link_leaves_the_other_connections_to_the_rest(destination, sql):
    links = await many(destination, 60)
    await links[0].flush({"message_id": "m"}, table="held")
    async with sql.transaction():
        await sql.execute("LOCK TABLE held")
        slow = asyncio.create_task(links[0].flush({"message_id": "n"}, table="held"))
        await asyncio.gather(*(link.flush({"message_id": "m"}, table="free") for link in links[1:]))
        assert not slow.done() or slow.exception()
    await asyncio.gather(slow, return_exceptions=True)
    assert await sql.fetchval("SELECT count(*) FROM free") == 59


async def test_staging_tables_do_not_grow_with_tables_and_shapes(destination, make_link, sql):
    link = await make_link(on=destination, timestamp_column=None)
    for round_ in range(2):
        rows = [{"message_id": f"m{n}", f"r{round_}_{n}": n} for n in range(STAGING_MAX * 3)]
        batch = link.batch(rows)
        batch.rows[:] = [Row(row.offset, f"t{n}", row.values) for n, row in enumerate(batch.rows)]
        await link.land(batch)
    staged = "SELECT count(*) FROM pg_class WHERE relname LIKE 'penstock_staging_%' AND relpersistence = 't'"
    assert 0 < await sql.fetchval(staged) <= STAGING_MAX * CONNECTIONS
    totals = [await sql.fetchval(f"SELECT count(*) FROM t{n}") for n in range(STAGING_MAX * 3)]
    assert totals == [1] * (STAGING_MAX * 3)
    assert (
        await sql.fetchval(f"SELECT r1_{STAGING_MAX * 3 - 1} FROM t{STAGING_MAX * 3 - 1}")
        == STAGING_MAX * 3 - 1
    )


@pytest.fixture
def others(postgres_url):
    with fresh_database(postgres_url) as second, fresh_database(postgres_url) as third:
        yield second, third


async def test_three_destinations_at_once(others, destination, sql):
    destinations = [destination, *(Destination(config_of(url), CONNECTIONS, LIMITS) for url in others)]
    groups = [await many(each, 100) for each in destinations]
    await asyncio.gather(*(link.flush({"message_id": "m"}) for group in groups for link in group))
    assert await sql.fetchval("SELECT count(*) FROM events") == 100
    for url, each in zip(others, destinations[1:], strict=True):
        await each.close()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT count(*) FROM public.events") == 100
        await connection.close()


def test_a_process_with_hundreds_of_links(tmp_path, database):
    """Every stream has a link of its own, and every one of them delivers."""
    names = [f"s{number}" for number in range(LINKS)]
    streams = {name: {"server_keys": [f"{name}:key"]} for name in names}
    links = {name: {"from": name, "to": "warehouse", "data": {"mode": "stream"}} for name in names}
    conf = configuration(free_port(), tmp_path / "data", database, streams=streams, links=links)
    server = Penstock(tmp_path, conf).start()
    try:
        for name in names:
            assert server.post("/v1/track", track(name), key=f"{name}:key").status == 200
        server.drained()
        assert server.metric("penstock_link_up") == LINKS + 1
        ours = "datname = current_database() AND application_name = 'penstock'"
        ((count,),) = rows(database, f"SELECT count(*) FROM pg_stat_activity WHERE {ours}")
        assert 0 < count <= CONNECTIONS
        assert sorted(delivered(database)) == sorted(names)
    finally:
        assert server.stop() == 0
