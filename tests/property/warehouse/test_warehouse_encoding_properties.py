"""Values, names and cells for any input at all: nothing raises, nothing is confused, both encoders agree."""

import asyncio
import re
from itertools import product

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from server.warehouse.columns import fast_cells
from server.warehouse.copy import NULL, cell_encoder, numbered, split_row
from server.warehouse.encode import Encoding, _transposed
from server.warehouse.names import NAME_BYTES_MAX, column_name, snake_case, table_name
from server.warehouse.plan import new_plan
from server.warehouse.rows import Row, Shape, ShapedRow, TableOptions
from server.warehouse.schema import STREAM, UNMAPPED, Column, TableShape, UniqueKey
from server.warehouse.types import (
    ColumnType,
    fit_check,
    infer,
    json_object,
    promote,
    timestamp_us,
    to_json,
    wire_type,
)

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
times = st.datetimes().map(lambda moment: moment.isoformat()) | st.sampled_from(
    [
        "2026-03-01T12:00:00.123Z",
        "2026-03-01 12:00:00",
        "2026-03-01",
        "2026-02-30T00:00:00Z",
        "1e5",
        "07",
        "true",
    ]
)
numbers = st.integers() | st.integers(-(2**64), 2**64) | st.floats()
values = st.none() | st.booleans() | numbers | any_text | times | st.sampled_from(['{"a":"\\u0000"}', "[1"])
TYPES = list(ColumnType)


@given(values.filter(lambda value: value is not None), st.sampled_from(TYPES))
def test_every_value_becomes_a_well_formed_cell_or_a_misfit(value, wire):
    cell = cell_encoder(wire)(value)
    assert cell is None or int.from_bytes(cell[:4], "big") == len(cell) - 4


@given(values.filter(lambda value: value is not None))
def test_a_new_column_holds_the_value_it_was_inferred_from(value):
    assert cell_encoder(infer(value))(value) is not None


@given(st.lists(values.filter(lambda value: value is not None), min_size=1, max_size=5))
@example([2**53 + 1, 0.0])
@example([2**53, 2**53 + 1])
def test_a_promoted_column_holds_all_of_the_batch_but_whole_numbers_between_two_doubles(batch):
    kind = None
    for value in batch:
        kind = promote(kind, infer(value))
    misfits = [value for value in batch if cell_encoder(kind)(value) is None]
    whole = [value for value in batch if type(value) is int]
    assert misfits == [value for value in whole if kind is ColumnType.DOUBLE and float(value) != value]


@given(st.lists(st.sampled_from(TYPES), min_size=1, max_size=6), st.randoms())
def test_promotion_does_not_depend_on_the_order_of_scalars(kinds, random):
    scalars = [kind for kind in kinds if kind is not ColumnType.JSONB] or [ColumnType.TEXT]
    shuffled = random.sample(scalars, len(scalars))

    def promoted(order):
        kind = None
        for each in order:
            kind = promote(kind, each)
        return kind

    assert promoted(scalars) == promoted(shuffled)


@given(values, st.sampled_from(["int2", "int4", "float4", "numeric", "uuid", "varchar", "date", "mood"]))
def test_checks_of_users_columns_are_total(value, type_name):
    check = fit_check(type_name, 3 if type_name == "varchar" else None)
    encode = cell_encoder(wire_type(type_name)[0], check)
    assert value is None or encode(value) is None or isinstance(encode(value), bytes)


@given(values.filter(lambda value: value is not None))
def test_jsonb_text_is_json_that_postgres_takes(value):
    text = to_json(value)
    orjson.loads(text) if not re.fullmatch(rb"-?[0-9]{20,}", text) else int(text)
    assert rb"\u0000" not in re.sub(rb"\\\\", b"", text)


@given(st.dictionaries(any_text, values, max_size=6))
def test_unmapped_objects_are_json(values):
    assert isinstance(orjson.loads(json_object(values)), dict)


@given(any_text)
def test_a_time_is_read_alike_with_and_without_the_cache(text):
    assert timestamp_us(text) == timestamp_us(text)


@given(any_text)
def test_names_fit_and_stay(raw):
    for make in (column_name, table_name):
        name = make(raw)
        assert 0 < len(name.encode()) <= NAME_BYTES_MAX
        assert make(name) == name
    assert snake_case(snake_case(raw)) == snake_case(raw)


@given(st.text("abcé_ж ", min_size=50, max_size=90), st.text("abcé_ж ", min_size=50, max_size=90))
def test_two_long_names_are_two_columns(one, other):
    assert (column_name(one) == column_name(other)) == (one == other)


@given(
    st.lists(
        st.one_of(*[st.lists(kind, max_size=8) for kind in (values, any_text, times, numbers)]), max_size=3
    )
)
@example([[0.5, 2**53 + 1]])
@example([[2, -(2**53) - 1]])
def test_a_column_is_encoded_as_its_values_are(parts):
    block = [value for part in parts for value in part]
    for wire in TYPES:
        fast = fast_cells(block, wire)
        slow = [NULL if value is None else cell_encoder(wire)(value) for value in block]
        assert fast is None or fast == slow


@given(st.lists(st.binary(max_size=9), max_size=5), st.integers(0, 2**31 - 1))
def test_rows_come_apart_as_they_were_put_together(cells, ordinal):
    row = len(cells).to_bytes(2, "big") + b"".join(len(cell).to_bytes(4, "big") + cell for cell in cells)
    assert b"".join(split_row(row)) == row
    assert len(split_row(row)) == len(cells) + 1
    assert split_row(numbered(row, ordinal))[2:] == split_row(row)[1:]


def plan_for(options):
    wires = {"k": ColumnType.TEXT, "n": ColumnType.BIGINT, "x": ColumnType.DOUBLE, "b": ColumnType.BOOLEAN}
    wires |= {
        "t": ColumnType.TEXT,
        "at": ColumnType.TIMESTAMPTZ,
        STREAM: ColumnType.TEXT,
        UNMAPPED: ColumnType.JSONB,
    }
    columns = {name: Column(name, wire, True, wire.value, cell_encoder(wire)) for name, wire in wires.items()}
    key = UniqueKey("key", (STREAM, "k"))
    plan = new_plan(TableShape("public", "events", "r", True, columns, (key,)), options, key)
    plan.use(UNMAPPED)
    for name in ("k", "n", "x", "b", "t", "at", "_stream"):
        assert plan.take(name)
    return plan


rows = st.lists(
    st.fixed_dictionaries(
        {"k": st.sampled_from(["a", "b", "c", None]) | any_text},
        optional=dict.fromkeys(("n", "x", "b", "t", "at", "_stream"), values),
    ),
    max_size=12,
)


@given(rows, st.booleans())
def test_both_ways_of_encoding_a_block_give_the_same_bytes(block, existing_wins):
    plan = plan_for(TableOptions("site", existing_wins=existing_wins))
    encoding = Encoding(plan, [], {}, fold=True)
    by_column = encoding._by_column(len(block), _transposed(block, set().union(*block)))
    by_row = encoding._by_row(block)
    assert by_column.rows == by_row.rows
    assert by_column.misfits == by_row.misfits
    assert list(by_column.keys) == by_row.keys or not any(by_row.keys)


@given(rows, st.integers(1, 5), st.booleans())
def test_folding_does_not_depend_on_the_size_of_blocks(block, size, existing_wins):
    plan = plan_for(TableOptions("site", existing_wins=existing_wins))

    def encoded(block_rows):
        encoding = Encoding(plan, [Row(at, "events", row) for at, row in enumerate(block)], {}, fold=True)
        encoding._block_rows = block_rows
        encoding._pace = lambda took_s, slice_s: None
        asyncio.run(encoding.run(1.0))
        return [unordered(row) for row in encoding.rows()], encoding.unmapped_values

    def unordered(row):
        *cells, unmapped = [split_row(row)[cell] for cell in (*range(3), *range(4, 9), 3)]
        return cells, unmapped if unmapped == NULL else orjson.loads(unmapped[5:])

    assert encoded(size) == encoded(64)


def test_what_fits_no_column_is_written_in_slices_too():
    plan = plan_for(TableOptions("site"))
    encoding = Encoding(plan, [Row(at, "events", {"n": "no number"}) for at in range(100)], {}, fold=False)
    breaths = []

    async def breathe():
        breaths.append(len(breaths))

    asyncio.run(encoding.run(0.0, breathe))
    assert len(breaths) >= 100


NAMES = st.lists(st.sampled_from(["n", "x", "b", "t", "at", "_stream", "new"]), max_size=4, unique=True)
SHAPES = st.lists(NAMES.map(lambda names: Shape(("k", *names))), min_size=1, max_size=3)


@given(SHAPES, st.lists(st.lists(values, min_size=5, max_size=5), min_size=1, max_size=9), st.integers(1, 16))
def test_rows_with_and_without_their_shape_give_the_same_bytes(shapes, cells, times):
    plan = plan_for(TableOptions("site"))
    shaped = [
        ShapedRow(at, "events", shape, row[: len(shape.names)])
        for at, (shape, row) in enumerate(product(shapes, cells * times))
    ]
    plain = [Row(row.offset, row.table, row.values) for row in shaped]

    def encoded(rows):
        encoding = Encoding(plan, rows, {}, fold=True)
        asyncio.run(encoding.run(1.0))
        loaded = [] if encoding.missing else [known(row) for row in encoding.rows()]
        return loaded, encoding.missing, encoding.unmapped_values if loaded else 0

    assert encoded(shaped) == encoded(plain)


def known(row):
    """The cells of a row; what was set aside as an object, whose keys have no order."""
    cells = split_row(row)
    unmapped = cells.pop(3)
    return cells, unmapped if unmapped == NULL else orjson.loads(unmapped[5:])
