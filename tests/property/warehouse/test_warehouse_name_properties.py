"""Any text is a name: legal, stable, and apart from other names as designed; seen through a real Postgres."""

import asyncio
import unicodedata

import asyncpg
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.warehouse import Batch, Destination, LinkKey, LocalProgress, Row, TableOptions
from server.warehouse.names import NAME_BYTES_MAX, column_name, own_name, snake_case, table_name
from tests.contract.warehouse.conftest import config_of

KEY = LinkKey("store", "link", 1)
RESERVED = [
    "select",
    "user",
    "table",
    "order",
    "xmin",
    "ctid",
    "tableoid",
    "oid",
    "_stream",
    "_unmapped_data",
]
SCRIPTS = [
    "हिन्दी",
    "हीन्दि",
    "ภาษาไทย",
    "ภษไทย",
    "עִבְרִית",
    "עברית",
    "العَرَبِيّة",
    "e\u0301",
    "é",
    "漢字",
    "ﬁ",
    "İ",
    "ß",
    "ẞ",
]

text = st.text(st.characters(codec=None, exclude_categories=()), max_size=90)
long = st.builds(lambda head, tail: head * 30 + tail, st.sampled_from("aé漢😀न"), text)
names = st.one_of(text, long, st.sampled_from(RESERVED + SCRIPTS), st.text("aA_ $-!\"'\\\0/:.", max_size=8))


def is_plain(name):
    """Whether it may stay as it is."""
    marks = {"Mn", "Mc"}
    fine = all(c.isalnum() or c in "_ $-" or unicodedata.category(c) in marks for c in name)
    return fine and len(name.encode(errors="replace")) <= NAME_BYTES_MAX


@given(names)
def test_every_name_is_legal_and_stable(raw):
    for make in (column_name, table_name):
        name = make(raw)
        assert 0 < len(name.encode()) <= NAME_BYTES_MAX
        assert not set(name) & set("\0/:\"'")
        assert make(name) == name
        assert column_name(snake_case(snake_case(raw))) == column_name(snake_case(raw))


@given(names, names)
@example("हिन्दी", "हीन्दि")
@example("x" * 63 + "a", "x" * 63 + "b")
@example("Case", "case")
def test_names_that_can_stay_apart_do(one, other):
    if (
        one != other
        and is_plain(one)
        and (is_plain(other) or len(other.encode(errors="replace")) > NAME_BYTES_MAX)
    ):
        assert column_name(one) != column_name(other)
    if len(one) > NAME_BYTES_MAX < len(other) and one != other:
        assert table_name(one) != table_name(other)


@given(names, st.sampled_from(["default", "20261121", "index:0123456789abcdef"]))
def test_no_event_can_take_a_name_of_ours(raw, purpose):
    ours = own_name(table_name(raw), purpose)
    assert len(ours.encode()) <= NAME_BYTES_MAX
    assert table_name(ours) != ours


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=names, keys=st.lists(names, min_size=1, max_size=25, unique_by=column_name))
async def test_any_names_round_trip(database, table, keys):
    reserved = {"message_id", "timestamp", "_stream", "_unmapped_data"}
    values = {key: at for at, key in enumerate(keys) if column_name(key) not in reserved and key[:1] != "/"}
    destination = Destination(config_of(database), 1)
    sql = await asyncpg.connect(database)
    try:
        await sql.execute("DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS penstock CASCADE")
        taken = await destination.take_over(KEY, LocalProgress(0, 0))
        for at in range(2):  # the second time the table is read
            rows = [Row(at + 1, table, {"message_id": f"m{at}", **values})]
            await destination.flush(
                taken.key, Batch(taken.epoch, f"b{at}", at, at + 1, rows, b"", TableOptions("site"))
            )
            destination._tables.forget([table_name(table)])
        quoted = table_name(table).replace('"', '""')
        found = [dict(record) for record in await sql.fetch(f'SELECT * FROM public."{quoted}"')]
        expected = {column_name(key): value for key, value in values.items()}
        assert [{k: v for k, v in row.items() if k not in reserved} for row in found] == [expected] * 2
    finally:
        await asyncio.gather(destination.close(), sql.close())
