"""Keys of one event that are one name in snake case: who gets the column, and that the others are kept."""

from typing import Any

import pytest

from server.delivery.layouts import layout_of
from server.delivery.links import LinkConfig
from server.warehouse import AnyRow, ShapedRow, Value

LINK = LinkConfig("link", "site", "pg", generation=1, mode="stream")

TRACK = {"type": "track", "messageId": "m", "receivedAt": "now", "requestIp": "ip", "context": {"ip": "c"}}
STAMPED = {"type": "track", "message_id": "m", "received_at": "now", "request_ip": "ip", "context_ip": "c"}


def rows_of(event: dict[str, Any]) -> list[AnyRow]:
    """Laid out at length, and by the shape learned from that."""
    rows: list[AnyRow] = []
    layout = layout_of(LINK)
    layout.lay_out(1, event, rows)
    layout.lay_out(2, event, rows)
    return rows


def values_of(event: dict[str, Any]) -> dict[str, Value]:
    first, again = rows_of(event)
    assert type(again) is ShapedRow
    assert first.values == again.values
    return first.values


FORGED = [
    ({"message_id": "victim"}, {"/message_id": "victim"}),
    ({"message": {"id": "victim"}}, {"/message/id": "victim"}),
    ({"MessageId": "victim"}, {"/MessageId": "victim"}),
    ({"message id": "victim"}, {"/message id": "victim"}),
    ({"message.id": "victim"}, {"/message.id": "victim"}),
    ({"properties": {"messageId": "victim"}}, {"/properties/messageId": "victim"}),
    ({"properties": {"message": {"id": "victim"}}}, {"/properties/message/id": "victim"}),
    ({"received_at": "1999-01-01T00:00:00Z"}, {"/received_at": "1999-01-01T00:00:00Z"}),
    ({"request_ip": "6.6.6.6", "request": {"ip": "7"}}, {"/request_ip": "6.6.6.6", "/request/ip": "7"}),
    ({"Type": "zzz"}, {"/Type": "zzz"}),
    ({"context_ip": "6.6.6.6"}, {"/context_ip": "6.6.6.6"}),
    ({"context": {"ip": "c", "Ip": "6.6.6.6"}}, {"/context/Ip": "6.6.6.6"}),
    ({"_stream": "other", "_unmapped_data": "{}"}, {"/_stream": "other", "/_unmapped_data": "{}"}),
    ({"_unmapped": {"data": 1}}, {"/_unmapped/data": 1}),
    (
        {"properties": {"_stream": "other", "_unmapped_data": {"a": 1}}},
        {"/properties/_stream": "other", "/properties/_unmapped_data/a": 1},
    ),
]


@pytest.mark.parametrize(("more", "kept"), FORGED, ids=lambda value: next(iter(value)))
def test_stamped_columns_take_nothing_but_their_field(more: dict[str, Any], kept: dict[str, Value]) -> None:
    assert values_of(TRACK | more) == STAMPED | kept
    assert values_of(more | TRACK | more) == STAMPED | kept


@pytest.mark.parametrize("key", ["message_id", "received_at", "request_ip", "Type", "_stream"])
def test_also_where_the_field_is_absent(key: str) -> None:
    assert values_of({key: "x", "properties": {key: "y"}}) == {f"/{key}": "x", f"/properties/{key}": "y"}


OF_THE_PROTOCOL = [
    ("user_id", "userId"),
    ("anonymous_id", "anonymousId"),
    ("previous_id", "previousId"),
    ("sent_at", "sentAt"),
    ("original_timestamp", "originalTimestamp"),
    ("Timestamp", "timestamp"),
    ("Event", "event"),
    ("Name", "name"),
]


@pytest.mark.parametrize(("foreign", "own"), OF_THE_PROTOCOL)
def test_a_field_of_the_protocol_wins(foreign: str, own: str) -> None:
    column = foreign.lower()
    for event in ({own: "right", foreign: "wrong"}, {foreign: "wrong", own: "right"}):
        assert values_of(event) == {column: "right", f"/{foreign}": "wrong"}
    event = {own: "right", "properties": {foreign: "wrong"}}
    assert values_of(event) == {column: "right", f"/properties/{foreign}": "wrong"}


@pytest.mark.parametrize(
    ("foreign", "own", "column"),
    [
        ("user_agent", "userAgent", "context_user_agent"),
        ("Locale", "locale", "context_locale"),
    ],
)
def test_a_field_of_the_context_wins(foreign: str, own: str, column: str) -> None:
    for context in ({foreign: "wrong", own: "right"}, {own: "right", foreign: "wrong"}):
        assert values_of({"context": context}) == {column: "right", f"/context/{foreign}": "wrong"}
    event = {"context": {own: "right"}, "properties": {column: "wrong"}}
    assert values_of(event) == {column: "right", f"/properties/{column}": "wrong"}


OTHERS = [
    ({"Foo": 1, "foo": 2}, {"foo": 2, "/properties/Foo": 1}),
    ({"fooBar": 1, "foo_bar": 2}, {"foo_bar": 2, "/properties/fooBar": 1}),
    ({"foo": {"bar": 1}, "foo_bar": 2}, {"foo_bar": 2, "/properties/foo/bar": 1}),
    ({"foo": 1, "Foo": {"a": 2}}, {"foo": 1, "/properties/Foo/a": 2}),
    ({"foo": {"a": 1}, "Foo": {"b": 2}}, {"foo_a": 1, "foo_b": 2}),
    ({"a.b": 1, "a/b": 2, "a~b": 3}, {"a_b": 2, "/properties/a.b": 1, "/properties/a~0b": 3}),
    ({"Foo": 1, "foo": 1}, {"foo": 1}),
    ({"Foo": 1, "foo": True}, {"foo": True, "/properties/Foo": 1}),
]


@pytest.mark.parametrize(("properties", "expected"), OTHERS, ids=",".join)
def test_the_others_go_by_the_order_of_the_layout_and_then_by_path(
    properties: dict[str, Any], expected: dict[str, Value]
) -> None:
    assert values_of({"properties": properties}) == expected
    assert values_of({"properties": dict(reversed(properties.items()))}) == expected
    low = {key: value for key, value in expected.items() if not key.startswith("/")}
    above = values_of({"properties": properties} | dict.fromkeys(low, "root"))
    assert {key: above[key] for key in low} == dict.fromkeys(low, "root")


def test_a_long_path_is_cut_and_stays_apart() -> None:
    long = "k" * 1_000
    alike = {long + ".": 1, long + " ": 2, long + "_": 3}
    (first, _) = rows_of({"properties": {"a": {long + "B": 4, long: {"c": 5}}, "a_" + long: 6} | alike})
    assert {4, 5, 6} <= set(first.values.values())
    assert len(first.values) == 6
    assert all(len(name) < 300 for name in first.values)


def test_keys_of_any_length_do_not_grow_what_is_remembered() -> None:
    layout = layout_of(LINK)
    rows: list[AnyRow] = []
    for n in range(20):
        long = f"{n}" + "k" * 100_000
        layout.lay_out(n, {"type": "track", "properties": {long: 1, "x": {long: {"a": 1}}, "X": 2}}, rows)
    for way in (layout._short, layout._long):
        assert way.names.chars < 10_000
        assert max(map(len, way.plans.track.properties)) < 300
    assert not layout._short_cuts._known


def test_the_characters_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.delivery.layouts.KEY_CHARS_TOTAL_MAX", 5_000)
    layout = layout_of(LINK)
    for n in range(100):
        layout.lay_out(n, {"type": "track", "properties": {f"{n:03}{'k' * 200}": 1}}, [])
        assert layout._short.names.chars < 5_000 + 1_024
