"""Whatever an event holds, it becomes one row of legal names and plain values, and is left as it was."""

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.delivery.layouts import SegmentSingleTable
from server.warehouse import AnyRow, Value

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
KEYS = st.text(max_size=80) | st.sampled_from(
    [
        "traits",
        "context",
        "properties",
        "groupId",
        "group",
        "type",
        "userId",
        "user_id",
        "clientIds",
        "ga4",
        "sessionIds",
        "headers",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["track", "identify", "group", "page", "screen", "alias"]) | VALUES},
    optional={
        "context": OBJECTS | VALUES,
        "properties": OBJECTS | VALUES,
        "traits": OBJECTS | VALUES,
        "JITSU_TABLE_NAME": VALUES,
    },
).flatmap(lambda event: OBJECTS.map(lambda extra: extra | event))

LAYOUT = SegmentSingleTable("events")


@given(EVENTS)
def test_any_event_is_one_row(event: dict[str, Any]) -> None:
    before = copy.deepcopy(event)
    rows: list[AnyRow] = []
    LAYOUT.lay_out(7, event, rows)
    assert event == before
    (row,) = rows
    assert row.offset == 7
    assert is_name(row.table)
    assert all(is_name(name) for name in row.values)
    assert all(type(value) in (str, int, float, bool) for value in row.values.values())


@given(EVENTS)
def test_a_used_layout_says_the_same_as_a_new_one(event: dict[str, Any]) -> None:
    used: list[AnyRow] = []
    new: list[AnyRow] = []
    LAYOUT.lay_out(1, event, used)
    SegmentSingleTable("events").lay_out(1, event, new)
    assert told(used) == told(new)


@given(EVENTS)
def test_every_scalar_property_of_a_track_event_arrives(event: dict[str, Any]) -> None:
    """Names of their own cannot collide with anything: nothing of the properties is lost."""
    properties = {f"zz{n}q": n for n in range(5)}
    rows: list[AnyRow] = []
    LAYOUT.lay_out(1, event | {"type": "track", "properties": properties}, rows)
    assert properties.items() <= rows[0].values.items()


LEAVES = SCALARS | st.lists(VALUES, max_size=2)


@given(EVENTS, st.data())
def test_a_short_cut_says_the_same_as_the_layout(event: dict[str, Any], data: st.DataObject) -> None:
    """Learned from one event, taken for another with the same keys and other values."""
    other = retold(event, data) | {"type": event["type"]}
    layout, rows, expected = SegmentSingleTable("events"), list[AnyRow](), list[AnyRow]()
    layout.lay_out(1, event, rows)
    layout.lay_out(2, other, rows)
    SegmentSingleTable("events").lay_out(2, other, expected)
    assert told(rows[1:]) == told(expected)


def retold(source: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    return {
        key: retold(value, data) if type(value) is dict else data.draw(LEAVES)
        for key, value in source.items()
    }


def told(rows: Sequence[AnyRow]) -> list[tuple[int, str, dict[str, Value]]]:
    return [(row.offset, row.table, row.values) for row in rows]


def is_name(name: str) -> bool:
    """What Postgres takes, quoted, as it is."""
    return 0 < len(name.encode()) <= 63 and "\0" not in name and '"' not in name
