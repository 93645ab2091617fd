"""How rows become tables: creation, merge, keys, growth, values that do not fit. On a real Postgres."""

import asyncio
import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from server.warehouse import Limits, RowsRefused, Unavailable

T0 = "2026-03-01T12:00:00.250Z"


async def columns(sql, table="events"):
    found = await sql.fetch(
        "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute "
        "WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table,
    )
    return {record["attname"]: record["type"] for record in found}


async def test_a_first_batch_makes_the_table_with_types_key_and_index(link, sql):
    await link.flush(
        {"message_id": "m1", "timestamp": T0, "n": 1, "x": 1.5, "ok": True, "day": "2026-03-01", "at": T0}
    )
    assert await columns(sql) == {
        "_stream": "text",
        "timestamp": "timestamp with time zone",
        "message_id": "text",
        "n": "bigint",
        "x": "double precision",
        "ok": "boolean",
        "day": "text",
        "at": "timestamp with time zone",
    }
    row = dict(await sql.fetchrow("SELECT * FROM events"))
    assert row["at"] == datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC)
    assert (row["n"], row["x"], row["ok"], row["_stream"]) == (1, 1.5, True, "site")
    indexes = [
        r["indexdef"] for r in await sql.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = 'events'")
    ]
    assert any("UNIQUE" in index and "(_stream, message_id)" in index for index in indexes)
    assert any('("timestamp")' in index and "UNIQUE" not in index for index in indexes)


async def test_rows_merge_by_key_and_nothing_never_overwrites(link, sql):
    await link.flush({"message_id": "m", "a": 1, "b": "x"}, {"message_id": "m", "a": 2, "b": None})
    await link.flush({"message_id": "m", "a": None, "c": True})
    rows = await sql.fetch("SELECT a, b, c FROM events")
    assert [tuple(row) for row in rows] == [(2, "x", True)]


async def test_any_number_is_a_key(make_link, sql):
    """-1 as bigint is all ones, as the length of a NULL is."""
    link = await make_link(primary_key=("n",))
    assert (await link.flush({"n": -1, "a": 1}, {"n": -1, "a": 2}, {"n": 1, "a": 3})).rows == 2
    assert await sql.fetch("SELECT n, a FROM events ORDER BY a") == [(-1, 2), (1, 3)]


async def test_two_streams_in_one_table_never_merge(link, make_link, sql):
    other = await make_link(stream="app")
    await link.flush({"message_id": "m", "a": 1})
    await other.flush({"message_id": "m", "a": 2})
    assert await sql.fetch("SELECT _stream, a FROM events ORDER BY a") == [("site", 1), ("app", 2)]


async def test_rows_without_a_key_value_stay_apart(link, sql):
    await link.flush({"a": 1}, {"a": 2}, {"message_id": "m", "a": 3})
    await link.flush({"a": 4})
    assert await sql.fetchval("SELECT count(*) FROM events") == 4


async def test_a_key_column_that_no_row_has_is_still_made(make_link, sql):
    link = await make_link(primary_key=("order_id", "message_id"), timestamp_column="seen_at")
    await link.flush({"a": 1})
    assert (await columns(sql))["order_id"] == "text"
    assert (await columns(sql))["seen_at"] == "timestamp with time zone"


async def test_without_key_rows_are_appended(make_link, sql):
    link = await make_link(primary_key=())
    await link.flush({"message_id": "m", "a": 1}, {"message_id": "m", "a": 2})
    assert await sql.fetch("SELECT _stream, message_id, a FROM events ORDER BY a") == [
        ("site", "m", 1),
        ("site", "m", 2),
    ]


async def test_an_existing_column_keeps_its_type_and_a_misfit_is_kept_aside(link, sql):
    await link.flush({"message_id": "m1", "n": 1, "at": T0, "ok": True, "x": 0.5})
    flushed = await link.flush(
        {"message_id": "m2", "n": "many", "at": "soon", "ok": "maybe", "x": "1e", "t": "s"}
    )
    assert flushed.unmapped_values == 4
    assert (await columns(sql))["n"] == "bigint"
    kept = await sql.fetchval("SELECT _unmapped_data FROM events WHERE message_id = 'm2'")
    assert kept == '{"n": "many", "x": "1e", "at": "soon", "ok": "maybe"}'


async def test_unmapped_objects_merge_too(link, sql):
    await link.flush({"message_id": "m", "n": 1, "k": 1})
    await link.flush({"message_id": "m", "n": "a"}, {"message_id": "m", "k": "b"})
    await link.flush({"message_id": "m", "n": "c"})
    assert await sql.fetchval("SELECT _unmapped_data FROM events") == '{"k": "b", "n": "c"}'


@pytest.mark.parametrize(
    ("made", "value", "stored"),
    [
        ("text", 7, "7"),
        ("text", 1.5, "1.5"),
        ("text", True, "true"),
        ("bigint", "42", 42),
        ("bigint", 3.0, 3),
        ("bigint", True, 1),
        ("double precision", "2.5", 2.5),
        ("double precision", 2, 2.0),
        ("boolean", "true", True),
        ("boolean", 0, False),
        ("timestamptz", "2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("jsonb", '[1, {"a": null}]', '[1, {"a": null}]'),
        ("jsonb", "plain", '"plain"'),
        ("json", '{"a": 1}', '{"a": 1}'),
        ("int4", "7", 7),
        ("numeric", 2**70, 2**70),
        ("date", T0, datetime(2026, 3, 1, tzinfo=UTC).date()),
        ("timestamp", T0, datetime(2026, 3, 1, 12, 0, 0, 250_000)),
        ("varchar(3)", "abc", "abc"),
        ("real", 0.5, 0.5),
    ],
)
async def test_values_are_converted_to_existing_columns(link, sql, made, value, stored):
    await sql.execute(f"CREATE TABLE events (message_id text PRIMARY KEY, v {made})")
    flushed = await link.flush({"message_id": "m", "v": value})
    assert flushed.unmapped_values == 0
    assert await sql.fetchval("SELECT v FROM events") == stored


@pytest.mark.parametrize(
    ("made", "value"),
    [
        ("int2", 2**15),
        ("int4", "2147483648"),
        ("varchar(3)", "abcd"),
        ("uuid", "nonsense"),
        ("numeric", "x"),
        ("real", 1e300),
        ("int GENERATED ALWAYS AS (1) STORED", 1),
    ],
)
async def test_what_does_not_fit_a_users_column_is_kept_aside(link, sql, made, value):
    await sql.execute(f"CREATE TABLE events (message_id text PRIMARY KEY, v {made})")
    assert (await link.flush({"message_id": "m", "v": value})).unmapped_values == 1
    assert await sql.fetchval("SELECT _unmapped_data ? 'v' FROM events")


async def test_defaults_of_a_users_table_hold_for_rows_without_a_value(link, sql):
    await sql.execute(
        "CREATE TABLE events (id bigserial PRIMARY KEY, message_id text UNIQUE,"
        " state text NOT NULL DEFAULT 'new')"
    )
    await link.flush({"message_id": "a"}, {"message_id": "b", "state": "paid"})
    await link.flush({"message_id": "b"}, {"message_id": "a", "state": "sent"})
    assert await sql.fetch("SELECT message_id, state FROM events ORDER BY 1") == [
        ("a", "sent"),
        ("b", "paid"),
    ]


async def test_a_serial_id_is_not_taken_for_the_merge_key(link, sql):
    await sql.execute("CREATE TABLE events (id bigserial PRIMARY KEY, message_id text)")
    await link.flush({"message_id": "a"}, {"message_id": "a"})
    await link.flush({"message_id": "a"})
    assert await sql.fetchval("SELECT count(*) FROM events") == 1


async def test_keys_equal_only_to_postgres_merge_in_order(link, sql):
    await sql.execute("CREATE TABLE events (message_id numeric PRIMARY KEY, a bigint, b bigint)")
    await link.flush({"message_id": "1.0", "a": 1, "b": 1}, {"message_id": "1.00", "a": 2}, {"message_id": 2})
    assert await sql.fetch("SELECT a, b FROM events ORDER BY message_id") == [(2, 1), (None, None)]


async def test_changing_the_primary_key_changes_the_index_of_the_same_link(link, sql):
    await link.flush({"message_id": "m", "order_id": "o"})
    link.options = replace(link.options, primary_key=("order_id",))
    await link.flush({"message_id": "n", "order_id": "o"})
    assert await sql.fetch("SELECT message_id, order_id FROM events") == [("n", "o")]


async def test_another_link_with_another_key_is_told_so(link, make_link):
    await link.flush({"message_id": "m", "order_id": "o"})
    other = await make_link("other", primary_key=("order_id",))
    with pytest.raises(Unavailable, match="merged by") as raised:
        await other.flush({"message_id": "n", "order_id": "o"})
    assert "primaryKey" in raised.value.hint


async def test_hard_values_arrive(link, sql):
    values = {
        "nul": "a\0b",
        "big": 2**64,
        "huge": "x" * 900_000,
        "lone": "\ud800",
        "inf": math.inf,
        "nan": math.nan,
        "quote": 'a"b\\c\n',
        "emoji": "🐙",
        "min": -(2**63),
    }
    await link.flush({"message_id": "m\0", **values})
    row = dict(await sql.fetchrow("SELECT * FROM events"))
    assert (row["message_id"], row["nul"], row["big"]) == ("m", "ab", str(2**64))
    assert (len(row["huge"]), row["lone"], row["inf"]) == (900_000, "\ufffd", math.inf)
    assert math.isnan(row["nan"])
    assert (row["quote"], row["emoji"], row["min"]) == ('a"b\\c\n', "🐙", -(2**63))


async def test_hard_names_arrive(link, sql):
    names = [
        'q"uote',
        "xmin",
        "select",
        "ключ",
        "é" * 60,
        "é" * 61,
        "UPPER",
        "_stream",
        "_unmapped_data",
        "a\0b",
        "",
    ]
    await link.flush({"message_id": "m", **{name: at for at, name in enumerate(names)}})
    made = await columns(sql)
    assert {"select", "ключ", "UPPER", "q_uote", "a_b"} <= made.keys()
    assert sum(name.startswith("éé") for name in made) == 2
    kept = await sql.fetchval("SELECT _unmapped_data FROM events")
    assert kept == '{"_stream": 7, "_unmapped_data": 8}'


async def test_what_comes_with_a_path_for_a_name_is_kept_aside(link, sql):
    for _ in range(2):  # the second time the name is known
        await link.flush({"message_id": "m", "/message_id": "x", "/a~1b\0": 1}, {"message_id": "n"})
    assert not [name for name in await columns(sql) if "/" in name or name == "_message_id"]
    kept = await sql.fetch("SELECT message_id, _unmapped_data FROM events ORDER BY 1")
    assert [tuple(row) for row in kept] == [("m", '{"/a~1b": 1, "/message_id": "x"}'), ("n", None)]


async def test_three_hundred_new_columns_at_once(link, sql):
    flushed = await link.flush({"message_id": "m", **{f"c{at}": at for at in range(300)}})
    assert flushed.columns_added >= 300
    assert await sql.fetchval("SELECT c299 FROM events") == 299


async def test_columns_beyond_the_cap_are_kept_aside(make_destination, make_link, sql):
    link = await make_link(on=make_destination(Limits(columns_max=10)))
    flushed = await link.flush({"message_id": "m", **{f"c{at}": at for at in range(20)}})
    assert len(await columns(sql)) == 10
    assert flushed.unmapped_values == 14
    assert await sql.fetchval("SELECT count(*) FROM events, jsonb_object_keys(_unmapped_data)") == 14


async def test_new_columns_a_minute_are_bounded(make_destination, make_link, sql):
    link = await make_link(on=make_destination(Limits(new_columns_per_minute=5)))
    await link.flush({"message_id": "m", **{f"a{at}": at for at in range(5)}})
    assert (await link.flush({"message_id": "n", "late": 1})).unmapped_values == 1
    assert "late" not in await columns(sql)


async def test_a_frozen_schema_gets_no_column(link, make_link, sql):
    await link.flush({"message_id": "m", "a": 1})
    frozen = await make_link("frozen", schema_freeze=True)
    await frozen.flush({"message_id": "n", "a": 2, "b": 3})
    assert "b" not in await columns(sql)
    assert await sql.fetchval("SELECT _unmapped_data FROM events WHERE message_id = 'n'") == '{"b": 3}'


async def test_a_replay_fills_gaps_only(link, make_link, sql):
    await link.flush({"message_id": "m", "a": 1, "b": None})
    replay = await make_link("replay", existing_wins=True)
    await replay.flush({"message_id": "m", "a": 9, "b": 2}, {"message_id": "m", "b": 3})
    assert await sql.fetch("SELECT a, b FROM events") == [(1, 2)]


async def test_several_tables_in_one_batch(link, sql):
    batch = link.batch([{"message_id": f"m{at}", "a": at} for at in range(6)])
    for at, row in enumerate(batch.rows):
        row.table = ("pages", "tracks", "Order Done")[at % 3]
    await link.land(batch)
    counts = [
        await sql.fetchval(f'SELECT count(*) FROM "{table}"') for table in ("pages", "tracks", "Order Done")
    ]
    assert counts == [2, 2, 2]


async def test_event_derived_names_reach_no_table_of_others(link, sql):
    await sql.execute("CREATE TABLE accounts (message_id text PRIMARY KEY)")
    with pytest.raises(RowsRefused, match="not made by Penstock"):
        await link.flush({"message_id": "m"}, table="accounts")
    assert await sql.fetchval("SELECT count(*) FROM accounts") == 0


async def test_two_destinations_grow_one_table_at_once(make_destination, make_link, sql):
    links = [await make_link(f"l{at}", on=make_destination(), stream=f"s{at}") for at in range(4)]
    rows = [{"message_id": "m", "shared": 1, f"own{at}": at} for at in range(4)]
    await asyncio.gather(*(link.flush(row) for link, row in zip(links, rows, strict=True)))
    made = await columns(sql)
    assert {"shared", "own0", "own1", "own2", "own3"} <= made.keys()
    assert await sql.fetchval("SELECT count(*) FROM events") == 4


async def test_a_table_changed_behind_our_back_is_read_again(link, sql):
    await link.flush({"message_id": "m", "a": 1, "b": 2})
    await sql.execute("ALTER TABLE events DROP COLUMN a")
    await link.flush({"message_id": "n", "a": 3, "b": 4})
    assert await sql.fetchval("SELECT a FROM events WHERE message_id = 'n'") == 3
    await sql.execute("DROP TABLE events")
    await link.flush({"message_id": "o", "a": 5})
    assert await sql.fetchval("SELECT count(*) FROM events") == 1


async def test_a_schema_is_made_when_missing(make_destination, make_link, sql):
    link = await make_link(on=make_destination(schema='ana"lytics'))
    await link.flush({"message_id": "m", "a": 1})
    assert await sql.fetchval('SELECT a FROM "ana""lytics".events') == 1


async def test_many_rows_of_many_shapes_fold_and_land(link, sql):
    rows = [{"message_id": f"m{at % 700}", f"c{at % 40}": at, "n": at} for at in range(3000)]
    await link.flush(*rows)
    assert await sql.fetchval("SELECT count(*) FROM events") == 700
    assert await sql.fetchval("SELECT max(n) = 2999 AND min(n) = 2300 FROM events")


async def test_links_with_equal_options_encode_at_once_without_mixing(destination, make_link, sql):
    links = [await make_link(f"l{at}") for at in range(3)]
    batches = [
        link.batch([{"message_id": f"{at}-{row}", f"c{row % 50}": row} for row in range(1500)])
        for at, link in enumerate(links)
    ]
    await asyncio.gather(*(link.land(batch) for link, batch in zip(links, batches, strict=True)))
    assert await sql.fetchval("SELECT count(*) FROM events") == 4500
    assert (
        await sql.fetchval("SELECT count(*) FROM events WHERE c7 = split_part(message_id, '-', 2)::int") == 90
    )


async def test_staged_rows_of_a_failed_flush_do_not_pile_up(link, sql):
    await link.flush({"message_id": "m", "a": "x"})
    async with sql.transaction():
        await sql.execute("LOCK TABLE events")
        with pytest.raises(Unavailable):
            await link.flush(*({"message_id": f"m{at}", "a": "x" * 900} for at in range(500)))
    async with link.destination._connections.turn() as session:
        sizes = [
            await session.connection.fetchval(f"SELECT pg_relation_size('pg_temp.{t}')")
            for t in session.staging
        ]
    assert sizes == [0]


async def test_a_trusted_table_is_known_by_its_configured_name(make_link, sql):
    await sql.execute('CREATE TABLE "my_events" (message_id text PRIMARY KEY)')
    link = await make_link(trusted_tables=frozenset({"my!events"}))
    await link.flush({"message_id": "m"}, table="my!events")
    assert await sql.fetchval("SELECT count(*) FROM my_events") == 1


async def test_tables_beyond_the_cap_go_to_the_generic_one(make_destination, make_link, sql):
    destination = make_destination(Limits(tables_max=2))
    link = await make_link(on=destination)
    for round_ in range(2):
        batch = link.batch([{"message_id": f"{round_}-{at}", "a": at} for at in range(5)])
        for at, row in enumerate(batch.rows):
            row.table = ("one", "two", "three", "four", "events")[at]
        flushed = await link.land(batch)
        assert flushed.overflow_rows == 2
    assert (await columns(sql, "one")).keys() == (await columns(sql, "two")).keys()
    found = await sql.fetch("SELECT message_id, _unmapped_data->>'/JITSU_TABLE_NAME' FROM events ORDER BY 1")
    expected = [("2", "three"), ("3", "four"), ("4", None)]
    assert [tuple(row) for row in found] == [(f"{n}-{at}", name) for n in (0, 1) for at, name in expected]
    assert destination.counters.overflow_rows == 4


async def test_the_cap_of_tables_is_a_links_own_and_outlives_the_process(make_destination, make_link, sql):
    limits = Limits(tables_max=1)
    for name, table, spare in (("l", "one", 0), ("l", "two", 1), ("k", "two", 0), ("l", "two", 0)):
        link = await make_link(name, on=make_destination(limits))
        assert (await link.flush({"message_id": "m"}, table=table)).overflow_rows == spare


async def test_values_without_a_column_are_counted_apart_from_misfits(make_destination, make_link):
    link = await make_link(on=make_destination(Limits(columns_max=6)))
    await link.flush({"message_id": "m", "n": 1})
    flushed = await link.flush({"message_id": "n", "n": "many", "a": 1, "b": 2, "c": 3})
    assert (flushed.unmapped_values, flushed.overflow_values) == (3, 2)


async def test_an_event_cannot_name_its_table_as_a_type_is_called(link, sql):
    await sql.execute("CREATE TYPE mood AS ENUM ('ok')")
    with pytest.raises(RowsRefused, match="a type is called so"):
        await link.flush({"message_id": "m"}, table="mood")


async def test_a_table_that_was_renamed_gets_a_successor(link, sql):
    await link.flush({"message_id": "a", "timestamp": "2026-11-21T00:00:00Z"})
    await sql.execute("ALTER TABLE events RENAME TO events_2025")
    await link.flush({"message_id": "b"}, {"message_id": "c"})
    await link.flush({"message_id": "b"})
    assert await sql.fetchval("SELECT count(*) FROM events") == 2
    assert await sql.fetchval("SELECT count(*) FROM events_2025") == 1


async def test_columns_that_were_dropped_count_for_postgres(link, sql):
    await link.flush({"message_id": "a"})
    for number in range(8):
        names = [f"c{number}_{at}" for at in range(199)]
        await sql.execute(f"ALTER TABLE events {', '.join(f'ADD {name} text' for name in names)}")
        await sql.execute(f"ALTER TABLE events {', '.join(f'DROP {name}' for name in names)}")
    batch = link.batch([{"message_id": "b", **{f"z{at}": at for at in range(20)}}])
    with pytest.raises(Unavailable, match="1600 columns"):
        await link.land(batch)
    assert (await link.land(batch)).rows == 1
    kept = await sql.fetchval("SELECT _unmapped_data FROM events WHERE message_id = 'b'")
    assert len(json.loads(kept)) > 15


@pytest.mark.parametrize(("partition", "columns"), [("none", 31), ("day", 30)])
async def test_the_widest_key_that_a_link_may_have(make_link, sql, partition, columns):
    """As wide as an index of Postgres with what we add: the stream, and the day."""
    key = tuple(f"c{at}" for at in range(columns))
    link = await make_link("wide", primary_key=key, partition=partition)
    row = dict.fromkeys(key, "x") | {"received_at": "2026-11-21T00:00:00Z"}
    await link.flush({**row, "message_id": "a"})
    await link.flush({**row, "message_id": "b"})
    assert await sql.fetch("SELECT message_id FROM events") == [("b",)]
    too_wide = await make_link("wider", primary_key=(*key, "one_more"), partition=partition)
    with pytest.raises(Unavailable, match="32 columns"):
        await too_wide.flush({**row, "one_more": "x"}, table="others")
