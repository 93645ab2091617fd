"""Whatever an event holds, it becomes one row of legal names and plain values, and is left as it was."""

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.delivery.layouts import layout_of
from server.delivery.links import LinkConfig
from server.warehouse import AnyRow, Value

LINK = LinkConfig("link", "site", "pg", generation=1, mode="stream")

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
        *("messageId", "message_id", "MessageId", "message", "id", "Type", "_stream", "Traits", "Context"),
        *("foo", "Foo", "fooBar", "foo_bar", "bar", "Bar", "ip", "Ip", "a/b", "a~b", "properties_"),
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

LAYOUT = layout_of(LINK)


@given(EVENTS)
def test_any_event_is_one_row(event: dict[str, Any]) -> None:
    before = copy.deepcopy(event)
    rows: list[AnyRow] = []
    LAYOUT.lay_out(7, event, rows)
    assert event == before
    (row,) = rows
    assert row.offset == 7
    assert is_name(row.table)
    assert all(is_name(name) or is_aside(name) for name in row.values)
    assert row.values.get("message_id") in (event.get("messageId"), None) or is_text(event["messageId"])
    assert all(type(value) in (str, int, float, bool) for value in row.values.values())


@given(EVENTS)
def test_a_used_layout_says_the_same_as_a_new_one(event: dict[str, Any]) -> None:
    used: list[AnyRow] = []
    new: list[AnyRow] = []
    LAYOUT.lay_out(1, event, used)
    layout_of(LINK).lay_out(1, event, new)
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
    layout, rows, expected = layout_of(LINK), list[AnyRow](), list[AnyRow]()
    layout.lay_out(1, event, rows)
    layout.lay_out(2, other, rows)
    layout_of(LINK).lay_out(2, other, expected)
    assert told(rows[1:]) == told(expected)


def retold(source: dict[str, Any], data: st.DataObject) -> dict[str, Any]:
    return {
        key: retold(value, data) if type(value) is dict else data.draw(LEAVES)
        for key, value in source.items()
    }


def told(rows: Sequence[AnyRow]) -> list[tuple[int, str, dict[str, Value]]]:
    return [(row.offset, row.table, row.values) for row in rows]


COLLIDING = st.dictionaries(
    st.sampled_from(
        ["foo", "Foo", "fooBar", "foo_bar", "bar", "message", "id", "messageId", "message_id", "ip"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 2) | st.lists(st.integers(0, 1), max_size=1),
        lambda inner: st.dictionaries(st.sampled_from(["bar", "Bar", "id", "ip", "b"]), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=6,
)


@given(
    st.sampled_from(["track", "identify", "page"]),
    COLLIDING,
    COLLIDING,
    COLLIDING,
    COLLIDING,
    COLLIDING,
    st.data(),
)
def test_short_and_long_agree_where_names_collide_in_any_order_of_keys(
    kind: str,
    root: dict[str, Any],
    properties: dict[str, Any],
    context: dict[str, Any],
    traits: dict[str, Any],
    own: dict[str, Any],
    data: st.DataObject,
) -> None:
    event = root | {
        "type": kind,
        "properties": properties,
        "traits": traits,
        "context": context | {"traits": own},
    }
    other = retold(event, data) | {"type": kind}
    turned = dict(reversed(other.items())) | {"properties": dict(reversed(other["properties"].items()))}
    layout, rows, expected = layout_of(LINK), list[AnyRow](), list[AnyRow]()
    layout.lay_out(1, event, rows)
    layout.lay_out(2, turned, rows)
    layout_of(LINK).lay_out(2, other, expected)
    assert told(rows[1:]) == told(expected)
    said = set(map(json.dumps, expected[0].values.values()))
    assert said >= {json.dumps(value) for value in leaves(other)}


def leaves(value: Any) -> Iterator[Any]:
    if type(value) is dict:
        for child in value.values():
            yield from leaves(child)
    elif value is not None and type(value) is not list:
        yield value


def is_text(value: Any) -> bool:
    """Whether it goes into its column as JSON text."""
    return type(value) is list


def is_aside(name: str) -> bool:
    return name.startswith("/")


def is_name(name: str) -> bool:
    """What Postgres takes, quoted, as it is."""
    return 0 < len(name.encode()) <= 63 and "/" not in name and "\0" not in name and '"' not in name
