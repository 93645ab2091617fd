"""Which rows are refused, and that nothing else is: constraints, locks, rights. On a real Postgres."""

import asyncpg
import pytest

from server.warehouse import Limits, OutOfStep, Row, RowsRefused, Unavailable
from tests.contract.warehouse.conftest import LIMITS

USERS_TABLE = "CREATE TABLE events (message_id text PRIMARY KEY, n bigint, state text)"


async def refused(link, batch):
    with pytest.raises(RowsRefused) as raised:
        await link.land(batch)
    return {refusal.offset: refusal.sqlstate for refusal in raised.value.refusals}


async def without(link, batch, offsets):
    batch.rows[:] = [row for row in batch.rows if row.offset not in offsets]
    return await link.land(batch)


@pytest.mark.parametrize(
    ("constraint", "bad", "sqlstate"),
    [
        ("ALTER TABLE events ADD CHECK (n < 100)", {"n": 100}, "23514"),
        ("ALTER TABLE events ALTER n SET NOT NULL", {"n": None}, "23502"),
        (
            "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE events ALTER state TYPE mood USING state::mood",
            {"state": "odd"},
            "22P02",
        ),
        ("CREATE UNIQUE INDEX ON events (n) WHERE n = 77", {"n": 77}, "23505"),
        (
            "CREATE TABLE known (n bigint PRIMARY KEY); INSERT INTO known SELECT generate_series(0, 60);"
            "ALTER TABLE events ADD FOREIGN KEY (n) REFERENCES known DEFERRABLE INITIALLY DEFERRED",
            {"n": 99},
            "23503",
        ),
        ("ALTER TABLE events ALTER n TYPE numeric(3, 1)", {"n": 1000}, "22003"),
    ],
)
async def test_a_users_constraint_refuses_exactly_the_bad_event(link, sql, constraint, bad, sqlstate):
    await sql.execute(f"{USERS_TABLE}; {constraint}; INSERT INTO events (message_id, n) VALUES ('x', 50)")
    if sqlstate == "23505":
        await sql.execute("INSERT INTO events (message_id, n) VALUES ('y', 77)")
    rows = [{"message_id": f"m{at}", "n": at % 50, "state": "good"} for at in range(50)]
    rows[17] |= bad
    batch = link.batch(rows)
    assert await refused(link, batch) == {18: sqlstate}
    assert (await without(link, batch, {18})).rows == 49
    assert await sql.fetchval("SELECT count(*) FROM events WHERE message_id LIKE 'm%'") == 49


async def test_all_bad_events_of_a_batch_are_named_at_once(link, sql):
    await sql.execute(f"{USERS_TABLE}; ALTER TABLE events ADD CHECK (n <> 7)")
    batch = link.batch([{"message_id": f"m{at}", "n": at % 10} for at in range(60)])
    assert set(await refused(link, batch)) == {8, 18, 28, 38, 48, 58}


async def test_of_folded_events_only_the_bad_one_is_refused(link, sql):
    await sql.execute(f"{USERS_TABLE}; ALTER TABLE events ADD CHECK (n < 100)")
    batch = link.batch(
        [{"message_id": "m", "n": 1}, {"message_id": "m", "n": 100}, {"message_id": "m", "n": 3}]
    )
    batch.rows[2].values["n"] = None
    assert set(await refused(link, batch)) == {2}
    await without(link, batch, {2})
    assert await sql.fetchval("SELECT n FROM events") == 1


async def test_without_a_key_the_bad_event_is_named_too(make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text, n bigint CHECK (n < 100))")
    link = await make_link(deduplicate=False)
    batch = link.batch([{"message_id": f"m{at}", "n": at} for at in range(102)])
    assert set(await refused(link, batch)) == {101, 102}
    assert await sql.fetchval("SELECT count(*) FROM events") == 0


async def test_the_search_ends_at_its_budget_with_something_to_show(make_destination, make_link, sql):
    await sql.execute(f"{USERS_TABLE}; ALTER TABLE events ADD CHECK (n IS NULL)")
    link = await make_link(on=make_destination(Limits(locate_statements_max=20)))
    batch = link.batch([{"message_id": f"m{at}", "n": 1} for at in range(500)])
    found = await refused(link, batch)
    assert 1 <= len(found) <= 20
    assert (await refused(link, batch)).keys() == found.keys()


async def test_a_key_too_long_for_an_index_is_the_events_fault(link):
    batch = link.batch(
        [{"message_id": "ok"}, {"message_id": "".join(chr(0x4E00 + at) for at in range(5000))}]
    )
    assert await refused(link, batch) == {2: "54000"}


async def test_a_row_too_wide_for_a_page_is_the_events_fault(make_destination, make_link):
    link = await make_link(on=make_destination(Limits(columns_max=1400, new_columns_per_minute=2000)))
    wide = {f"c{at}": f"{at:032}" for at in range(900)}
    batch = link.batch([{"message_id": "m1", "c0": "x"}, {"message_id": "m2", **wide}])
    assert await refused(link, batch) == {2: "54000"}


async def test_an_error_of_another_table_refuses_nothing(link, sql):
    await sql.execute(
        f"{USERS_TABLE}; CREATE TABLE audit (n bigint CHECK (n < 100));"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO audit VALUES (NEW.n); RETURN NEW; END$$;"
        "CREATE TRIGGER note AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note()"
    )
    with pytest.raises(Unavailable, match="audit"):
        await link.flush({"message_id": "m", "n": 100})


async def test_a_locked_table_is_unavailable_within_the_lock_timeout(link, sql):
    await link.flush({"message_id": "m", "a": 1})
    async with sql.transaction():
        await sql.execute("LOCK TABLE events")
        with pytest.raises(Unavailable, match="lock") as raised:
            await link.flush({"message_id": "n", "a": 2})
        assert raised.value.sqlstate == "55P03"
        with pytest.raises(Unavailable, match="lock"):
            await link.flush({"message_id": "n", "brand_new": 2})
    await link.flush({"message_id": "n", "brand_new": 2})


@pytest.fixture
async def poor(sql):
    """A role that rights can be taken from, and what a destination needs to be it: not the superuser."""
    role = await sql.fetchval("SELECT current_user")
    if not await sql.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        yield role, {}
        return
    role = f"poor_{await sql.fetchval('SELECT current_database()')}"
    await sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    yield role, {"username": role, "password": "x"}
    await sql.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_missing_rights_are_unavailable_with_a_hint(link, make_destination, make_link, sql, poor):
    role, identity = poor
    await link.flush({"message_id": "m"})
    await sql.execute(
        f"GRANT USAGE ON SCHEMA penstock TO {role}; GRANT SELECT ON events TO {role};"
        f"GRANT SELECT, INSERT, UPDATE ON penstock.progress TO {role}; REVOKE INSERT ON events FROM {role}"
    )
    other = await make_link("poor", on=make_destination(**identity))
    with pytest.raises(Unavailable, match="permission denied") as raised:
        await other.flush({"message_id": "n"})
    assert "grant" in raised.value.hint


async def test_an_index_that_cannot_be_built_refuses_nothing(make_link, sql):
    plain = await make_link("plain", deduplicate=False)
    await plain.flush({"message_id": "m"}, {"message_id": "m"})
    merging = await make_link("merging")
    with pytest.raises(Unavailable, match="change table") as raised:
        await merging.flush({"message_id": "m"})
    assert "deduplicate" in raised.value.hint


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_unmapped_data_that_is_not_jsonb_stops_a_merging_link_and_says_so(link, sql, kind):
    await sql.execute(f"CREATE TABLE events (message_id text PRIMARY KEY, n int, _unmapped_data {kind})")
    with pytest.raises(Unavailable, match=f"is {kind}") as raised:
        await link.flush({"message_id": "m", "n": "many"})
    assert raised.value.hint == "make it jsonb"


async def test_a_link_that_only_adds_may_keep_its_unmapped_data_as_json(make_link, sql):
    await sql.execute("CREATE TABLE events (message_id text, n int, _unmapped_data json)")
    link = await make_link("plain", deduplicate=False)
    await link.flush({"message_id": "m", "n": "many"})
    assert await sql.fetchval("SELECT _unmapped_data->>'n' FROM events") == "many"


async def test_a_view_is_not_loaded(link, sql):
    await sql.execute("CREATE VIEW events AS SELECT 'm' AS message_id")
    with pytest.raises(Unavailable, match="not a table"):
        await link.flush({"message_id": "m"})


async def test_a_slow_statement_ends_at_the_servers_limit(make_destination, make_link, sql):
    await sql.execute(
        f"{USERS_TABLE}; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_sleep(30); RETURN NEW; END$$;"
        "CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    link = await make_link(on=make_destination(Limits(statement_timeout_s=0.3)))
    with pytest.raises(Unavailable) as raised:
        await link.flush({"message_id": "m"})
    assert raised.value.sqlstate == "57014"


async def test_all_rows_of_an_event_are_one(link, sql):
    await sql.execute("CREATE TABLE events (message_id text PRIMARY KEY CHECK (message_id <> 'bad'))")
    batch = link.batch([{"message_id": "good"}, {"message_id": "bad"}])
    batch.rows.append(Row(2, "tracks", {"message_id": "bad"}))
    assert await refused(link, batch) == {2: "23514"}
    await without(link, batch, {2})
    assert await sql.fetchval("SELECT to_regclass('tracks') IS NULL OR NOT EXISTS (SELECT FROM tracks)")


async def test_a_dropped_progress_table_asks_for_a_new_take_over(link, sql):
    await link.flush({"message_id": "m"})
    await sql.execute("DROP SCHEMA penstock CASCADE")
    with pytest.raises(OutOfStep, match="gone"):
        await link.flush({"message_id": "n"})
    await link.take_over()
    await link.flush({"message_id": "n"})
    assert await sql.fetchval("SELECT count(*) FROM events") == 2


async def test_the_probe_says_what_is_missing(destination, make_destination, sql):
    found = await destination.probe()
    assert found.version.startswith("PostgreSQL")
    assert await sql.fetchval("SELECT to_regnamespace('penstock') IS NULL")
    with pytest.raises(Unavailable) as raised:
        await make_destination(database="nowhere_at_all").probe()
    assert "does not exist" in raised.value.hint
    with pytest.raises(Unavailable) as raised:
        await make_destination(LIMITS, host="127.0.0.1", port=1).probe()
    assert "host and port" in raised.value.hint


async def test_a_probe_without_rights_names_the_right(make_destination, sql, poor):
    role, identity = poor
    await sql.execute(
        f"REVOKE CREATE ON DATABASE {await sql.fetchval('SELECT current_database()')} FROM {role}"
    )
    with pytest.raises(Unavailable, match="cannot create schema penstock") as raised:
        await make_destination(**identity).probe()
    assert "grant" in raised.value.hint


def test_asyncpg_names_the_line_of_a_copy_error():
    """locate.py reads it from `context`; a driver that renames the field must fail here."""
    assert "W" in asyncpg.exceptions._base.PostgresMessage._field_map
    assert asyncpg.exceptions._base.PostgresMessage._field_map["W"] == "context"
