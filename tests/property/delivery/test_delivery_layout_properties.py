"""Whatever an event holds, it becomes one row of legal names and plain values, and is left as it was."""

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.delivery.layouts import SegmentSingleTable
from server.warehouse import Row

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
    rows: list[Row] = []
    LAYOUT.lay_out(7, event, rows)
    assert event == before
    (row,) = rows
    assert row.offset == 7
    assert is_name(row.table)
    assert all(is_name(name) for name in row.values)
    assert all(type(value) in (str, int, float, bool) for value in row.values.values())


@given(EVENTS)
def test_a_used_layout_says_the_same_as_a_new_one(event: dict[str, Any]) -> None:
    used: list[Row] = []
    new: list[Row] = []
    LAYOUT.lay_out(1, event, used)
    SegmentSingleTable("events").lay_out(1, event, new)
    assert used == new


@given(EVENTS)
def test_every_scalar_property_of_a_track_event_arrives(event: dict[str, Any]) -> None:
    """Names of their own cannot collide with anything: nothing of the properties is lost."""
    properties = {f"zz{n}q": n for n in range(5)}
    rows: list[Row] = []
    LAYOUT.lay_out(1, event | {"type": "track", "properties": properties}, rows)
    assert properties.items() <= rows[0].values.items()


def is_name(name: str) -> bool:
    """What Postgres takes, quoted, as it is."""
    return 0 < len(name.encode()) <= 63 and "\0" not in name and '"' not in name
