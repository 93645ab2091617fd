"""When a layout takes a short cut, and when it must not."""

import copy
from typing import Any

import pytest

from server.delivery.layouts import AnyLayout, layout_of
from server.delivery.links import LinkConfig
from server.delivery.shapes import LEARN_EVERY, SHAPES_MAX
from server.warehouse import KEY_CHARS_MAX, AnyRow, ShapedRow

LINK = LinkConfig("link", "site", "pg", generation=1, mode="stream")

TRACK: dict[str, Any] = {
    "type": "track",
    "event": "Order Done",
    "messageId": "m",
    "properties": {"orderId": 7, "coupon": None, "items": [{"skuId": "x"}], "empty": {}},
    "context": {"page": {"url": "u", "title": "t"}, "traits": {"firstName": "Ada"}},
}


def laid_out(layout: AnyLayout, event: dict[str, Any]) -> AnyRow:
    rows: list[AnyRow] = []
    before = copy.deepcopy(event)
    layout.lay_out(1, event, rows)
    assert event == before
    return rows[0]


def second(first: dict[str, Any], event: dict[str, Any]) -> AnyRow:
    """The row of `event` after `first` was learned from; the same as without that."""
    layout = layout_of(LINK)
    laid_out(layout, first)
    row = laid_out(layout, event)
    assert row.values == laid_out(layout_of(LINK), event).values
    return row


def test_the_second_event_of_a_shape_is_short() -> None:
    row = second(TRACK, TRACK | {"messageId": "n"})
    assert type(row) is ShapedRow
    assert row.values == {
        "type": "track",
        "event": "Order Done",
        "message_id": "n",
        "order_id": 7,
        "items": '[{"sku_id":"x"}]',
        "context_page_url": "u",
        "context_page_title": "t",
        "context_traits_first_name": "Ada",
    }


@pytest.mark.parametrize(
    "properties",
    [
        {"orderId": 7, "coupon": {"a": 1}, "items": 3, "empty": {}},
        {"orderId": 7, "coupon": 1, "items": 3, "empty": "x"},
        {"orderId": 7, "coupon": 1, "items": 3, "empty": ""},
        {"orderId": 7, "coupon": 1, "items": 3, "empty": {"a": 1}},
        {"orderId": 7, "coupon": 1, "items": 3, "other": {}},
        {"orderId": 7, "coupon": 1, "items": 3, "empty": {}, "more": 1},
        "none",
        None,
        [1, 2, 3, 4],
    ],
)
def test_another_shape_is_not_taken_for_it(properties: Any) -> None:
    assert type(second(TRACK, TRACK | {"properties": properties})) is not ShapedRow


@pytest.mark.parametrize(
    "event",
    [
        {"type": "group", "groupId": "g", "traits": {"name": "n"}},
        {"type": "track", "context": {"groupId": ""}},
        {"type": "track", "JITSU_TABLE_NAME": "other"},
        {"type": "track", "__sql_type_a": "text"},
        {"type": "track", "context": {"headers": {"a": 1}}},
        {"type": ["track"]},
    ],
    ids=["group", "group id", "table", "hint", "headers", "no type"],
)
def test_where_a_value_or_another_key_decides_there_is_no_short_cut(event: dict[str, Any]) -> None:
    assert type(second(event, event)) is not ShapedRow


def test_a_key_too_long_to_remember_has_no_shape() -> None:
    event = TRACK | {"properties": {"k" * (KEY_CHARS_MAX + 1): 1}}
    assert type(second(event, event)) is not ShapedRow
    short = TRACK | {"properties": {"k" * KEY_CHARS_MAX: 1}}
    assert type(second(short, short)) is ShapedRow


def test_a_new_shape_is_learned_soon_and_the_old_one_stays() -> None:
    layout = layout_of(LINK)
    other = TRACK | {"properties": {"a": 1}}
    laid_out(layout, TRACK)
    for _ in range(LEARN_EVERY + 1):
        laid_out(layout, other)
    assert type(laid_out(layout, other)) is ShapedRow
    assert type(laid_out(layout, TRACK)) is ShapedRow


def test_what_is_remembered_is_bounded() -> None:
    layout = layout_of(LINK)
    for n in range((SHAPES_MAX + 2) * (LEARN_EVERY + 1)):
        laid_out(layout, TRACK | {"event": f"e{n}"})
    assert sum(map(len, layout._short_cuts._known.values())) <= SHAPES_MAX
