"""Any split of a row sequence into batches gives the same table: the one a few lines of Python make."""

from collections import Counter
from itertools import pairwise

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.warehouse import Batch, Destination, LinkKey, LocalProgress, Row, TableOptions
from server.warehouse.types import plain_text, to_bigint, to_boolean, to_double, to_text
from tests.contract.warehouse.conftest import config_of

KEY = LinkKey("store", "link", 1)
COLUMNS = {"n": to_bigint, "x": to_double, "ok": to_boolean, "t": to_text}

values = st.sampled_from([None, 1, 2, "1", "x", 2.5, True, False, 2**70, "a\0b", "2026-03-01T12:00:00Z"])
rows = st.lists(
    st.fixed_dictionaries(
        {"message_id": st.sampled_from(["a", "b", "c", "d", None])}, optional=dict.fromkeys(COLUMNS, values)
    ),
    min_size=1,
    max_size=14,
)


def reference(rows, existing_wins):
    """One row at a time: convert, else set aside; what is not None wins (or fills the gap)."""
    table = {}
    for at, row in enumerate(rows):
        fits, aside = {}, {}
        for name, value in row.items():
            if name == "message_id" or value is None:
                continue
            converted = COLUMNS[name](value)
            (fits if converted is not None else aside)[name] = value if converted is None else converted
        merged, unmapped = table.setdefault(row["message_id"] or at, ({}, {}))
        for into, new in ((merged, fits), (unmapped, aside)):
            into.update({name: value for name, value in new.items() if not (existing_wins and name in into)})
    return Counter(
        (key if isinstance(key, str) else None, *(fits.get(name) for name in COLUMNS), text_of(aside))
        for key, (fits, aside) in table.items()
    )


def text_of(aside):
    if not aside:
        return None
    shown = {name: plain_text(value) if isinstance(value, str) else value for name, value in aside.items()}
    return repr(sorted(shown.items()))


async def stored(sql):
    names = ", ".join(["message_id", *COLUMNS, "_unmapped_data"])
    found = await sql.fetch(f"SELECT {names} FROM events")
    return Counter((*row[:-1], text_of(loads(row[-1]))) for row in map(tuple, found))


def loads(text):
    return (
        {}
        if text is None
        else {name: int(v) if v == 2.0**70 else v for name, v in orjson.loads(text).items()}
    )


@pytest.mark.parametrize("existing_wins", [False, True])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, cuts=st.sets(st.integers(1, 13)))
async def test_any_split_gives_the_table_of_the_reference(database, rows, cuts, existing_wins):
    sql = await asyncpg.connect(database)
    destination = Destination(config_of(database), 1)
    try:
        await sql.execute(
            "SET search_path = public; SET client_min_messages = warning; DROP TABLE IF EXISTS events;"
            "CREATE TABLE events (_stream text, message_id text, n bigint, x double precision, ok boolean,"
            " t text, _unmapped_data jsonb); CREATE UNIQUE INDEX ON events (_stream, message_id)"
        )
        taken = await destination.take_over(KEY, LocalProgress(0, 0))
        key, last = taken.key, taken.resume_after
        bounds = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
        options = TableOptions("site", existing_wins=existing_wins)
        for first, end in pairwise(bounds):
            batch = [Row(at, "events", rows[at]) for at in range(first, end)]
            await destination.flush(
                key, Batch(taken.epoch, f"{end}", last, last + end - first, batch, b"", options)
            )
            last += end - first
        assert await stored(sql) == reference(rows, existing_wins)
    finally:
        await destination.close()
        await sql.close()


days = st.sampled_from(["2026-03-01T23:59:59.999999Z", "2026-03-02T00:00:00Z", "not a time", None])
daily_rows = st.lists(
    st.fixed_dictionaries(
        {
            "message_id": st.sampled_from(["a", "b", None]),
            "received_at": days,
            "n": st.sampled_from([None, 1, 2]),
        }
    ),
    min_size=1,
    max_size=10,
)


def daily_reference(rows):
    """As above for one column, where rows are one if they were received at the same time, too."""
    table = {}
    for at, row in enumerate(rows):
        time = row["received_at"] if row["received_at"] != "not a time" else None
        key = (row["message_id"], time) if row["message_id"] and time else at
        before = table.get(key, (None, None, None))[2]
        table[key] = (row["message_id"], time, before if row["n"] is None else row["n"])
    return Counter(table.values())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=daily_rows, cuts=st.sets(st.integers(1, 9)))
async def test_any_split_gives_the_same_partitioned_table(database, rows, cuts):
    sql = await asyncpg.connect(database)
    destination = Destination(config_of(database), 1)
    try:
        await sql.execute("SET client_min_messages = warning; DROP TABLE IF EXISTS public.events")
        taken = await destination.take_over(KEY, LocalProgress(0, 0))
        last = taken.resume_after
        options = TableOptions("site", partition="day", timestamp_column=None)
        for first, end in pairwise(sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})):
            batch = [Row(at, "events", rows[at]) for at in range(first, end)]
            flush = Batch(taken.epoch, f"{end}", last, last + end - first, batch, b"", options)
            await destination.flush(taken.key, flush)
            last += end - first
        names = "message_id, to_json(received_at)#>>'{}', (to_jsonb(e)->>'n')::int"
        found = Counter(map(tuple, await sql.fetch(f"SELECT {names} FROM public.events e")))
        expected = {
            (name, time and time.replace("Z", "+00:00"), n): count
            for (name, time, n), count in daily_reference(rows).items()
        }
        assert found == expected
    finally:
        await destination.close()
        await sql.close()
