"""Whatever an event holds, every layout makes legal names and plain values of it, and leaves it as it was."""

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.delivery.layouts import layout_of
from server.delivery.links import LinkConfig
from server.delivery.stamps import stamps_of
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
        "event": st.sampled_from(["Order Done", "tracks"]) | VALUES,
    },
).flatmap(lambda event: OBJECTS.map(lambda extra: extra | event))

LINKS = {
    "single table": LINK,
    "original names": replace(LINK, keep_original_names=True),
    "segment": replace(LINK, layout="segment"),
    "by template": replace(LINK, layout="segment", table_name_template="t_{{.context.groupId}}"),
    "legacy": replace(LINK, layout="jitsu-legacy"),
    "legacy, original names": replace(LINK, layout="jitsu-legacy", keep_original_names=True),
    "passthrough": replace(LINK, layout="passthrough"),
}
USED = {name: layout_of(link) for name, link in LINKS.items()}
each = pytest.mark.parametrize("name", LINKS)
few = settings(max_examples=40)  # of each layout


@each
@few
@given(event=EVENTS)
def test_any_event_is_rows_of_different_tables(name: str, event: dict[str, Any]) -> None:
    before = copy.deepcopy(event)
    rows: list[AnyRow] = []
    USED[name].lay_out(7, event, rows)
    assert event == before
    tables = [row.table for row in rows]
    assert len(set(tables)) == len(tables) in (1, 2)
    stamps = stamps_of(LINKS[name].layout, LINKS[name].keep_original_names)
    for row in rows:
        assert row.offset == 7
        assert is_name(row.table)
        assert all(is_name(column) or is_aside(column) for column in row.values)
        assert all(type(value) in (str, int, float, bool) for value in row.values.values())
        if type(event.get("messageId")) is str:
            assert row.values[stamps.message_id] == event["messageId"]


@each
@few
@given(event=EVENTS)
def test_a_used_layout_says_the_same_as_a_new_one(name: str, event: dict[str, Any]) -> None:
    used: list[AnyRow] = []
    new: list[AnyRow] = []
    USED[name].lay_out(1, event, used)
    layout_of(LINKS[name]).lay_out(1, event, new)
    assert told(used) == told(new)


@pytest.mark.parametrize("name", sorted(LINKS.keys() - {"passthrough"}))
@given(event=EVENTS)
def test_every_scalar_property_of_a_track_event_arrives(name: str, event: dict[str, Any]) -> None:
    """Names of their own cannot collide with anything: nothing of the properties is lost."""
    properties = {f"zz{n}q": n for n in range(5)}
    rows: list[AnyRow] = []
    USED[name].lay_out(1, event | {"type": "track", "properties": properties}, rows)
    assert properties.items() <= rows[-1].values.items()


LEAVES = SCALARS | st.lists(VALUES, max_size=2)


@each
@few
@given(event=EVENTS, data=st.data())
def test_a_short_cut_says_the_same_as_the_layout(
    name: str, event: dict[str, Any], data: st.DataObject
) -> None:
    """Learned from one event, taken for another with the same keys and other values."""
    other = retold(event, data) | {"type": event["type"]}
    if "event" in event:
        other["event"] = event["event"]
    layout, rows, expected = layout_of(LINKS[name]), list[AnyRow](), list[AnyRow]()
    layout.lay_out(1, event, [])
    layout.lay_out(2, other, rows)
    layout_of(LINKS[name]).lay_out(2, other, expected)
    assert told(rows) == told(expected)


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


@each
@few
@given(
    kind=st.sampled_from(["track", "identify", "page"]),
    parts=st.tuples(*[COLLIDING] * 5),
    data=st.data(),
)
def test_short_and_long_agree_where_names_collide_in_any_order_of_keys(
    name: str, kind: str, parts: tuple[dict[str, Any], ...], data: st.DataObject
) -> None:
    root, properties, context, traits, own = parts
    event = root | {
        "type": kind,
        "properties": properties,
        "traits": traits,
        "context": context | {"traits": own},
    }
    other = retold(event, data) | {"type": kind}
    turned = dict(reversed(other.items())) | {"properties": dict(reversed(other["properties"].items()))}
    layout, rows, expected = layout_of(LINKS[name]), list[AnyRow](), list[AnyRow]()
    layout.lay_out(1, event, [])
    layout.lay_out(2, turned, rows)
    layout_of(LINKS[name]).lay_out(2, other, expected)
    assert told(rows) == told(expected)
    if not name.startswith("legacy"):  # which has no place for some
        said = set(map(json.dumps, expected[-1].values.values()))
        typed = {} if name in ("segment", "by template") else {"type": kind}
        assert said >= {json.dumps(value) for value in leaves(other | {"type": None} | typed)}


def leaves(value: Any) -> Iterator[Any]:
    if type(value) is dict:
        for child in value.values():
            yield from leaves(child)
    elif value is not None and type(value) is not list:
        yield value


def is_aside(name: str) -> bool:
    return name.startswith("/")


def is_name(name: str) -> bool:
    """What Postgres takes, quoted, as it is."""
    return 0 < len(name.encode()) <= 63 and "/" not in name and "\0" not in name and '"' not in name
