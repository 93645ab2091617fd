"""`segment`, `jitsu-legacy`, `passthrough` and original names, against the example of the reference."""

from dataclasses import replace
from typing import Any

import pytest

from server.delivery.layouts import layout_of
from server.delivery.links import LinkConfig, table_options
from server.warehouse import AnyRow, Value

LINK = LinkConfig("link", "site", "pg", generation=1, mode="stream")
STAMPS = {"messageId": "m1", "userId": "u1", "receivedAt": "2026-11-21T05:55:57.000Z"}
SNAKE = {"message_id": "m1", "user_id": "u1", "received_at": "2026-11-21T05:55:57.000Z"}
CONTEXT = {"ip": "203.0.113.9", "groupId": "g1", "traits": {"firstName": "Ada"}, "page": {"url": "u"}}
PROPERTIES = {"orderId": 7, "items": [{"skuId": "x"}]}
ORDER_DONE = STAMPS | {"type": "track", "event": "Order Done", "properties": PROPERTIES, "context": CONTEXT}
FLAT_CONTEXT = {
    "context_ip": "203.0.113.9",
    "context_group_id": "g1",
    "context_traits_first_name": "Ada",
    "context_page_url": "u",
}


def rows_of(event: dict[str, Any], **options: Any) -> dict[str, dict[str, Value]]:
    """Table → row; laid out twice, so that what was learned says the same."""
    layout = layout_of(replace(LINK, **options))
    first: list[AnyRow] = []
    again: list[AnyRow] = []
    layout.lay_out(1, event, first)
    layout.lay_out(2, event, again)
    told = {row.table: row.values for row in first}
    assert len(told) == len(first)
    assert told == {row.table: row.values for row in again}
    return told


def test_segment_track_is_two_rows_with_one_id() -> None:
    base = SNAKE | {"event": "Order Done"} | FLAT_CONTEXT
    named = base | {"order_id": 7, "items": '[{"sku_id":"x"}]'}
    assert rows_of(ORDER_DONE, layout="segment") == {"tracks": base, "Order Done": named}


@pytest.mark.parametrize(
    ("more", "table", "columns"),
    [
        ({"type": "track", "event": "tracks"}, "tracks", {"event": "tracks", "plan": "p", "traits_a": 1}),
        ({"type": "track"}, "tracks", {"plan": "p", "traits_a": 1}),
        ({"type": "identify"}, "identifies", {"plan": "p", "a": 1}),
        ({"type": "group", "groupId": "g"}, "groups", {"plan": "p", "a": 1, "group_id": "g"}),
        ({"type": "page"}, "pages", {"type": "page", "plan": "p", "traits_a": 1}),
        ({"type": "screen"}, "screen", {"type": "screen", "plan": "p", "traits_a": 1}),
        ({"type": "alias"}, "alias", {"type": "alias", "plan": "p", "traits_a": 1}),
        (
            {"type": "identify", "JITSU_TABLE_NAME": "mine"},
            "mine",
            {"type": "identify", "plan": "p", "a": 1},
        ),
    ],
)
def test_segment_has_a_table_per_type(more: dict[str, Any], table: str, columns: dict[str, Value]) -> None:
    event = {"properties": {"plan": "p"}, "traits": {"a": 1}} | more
    assert rows_of(event, layout="segment") == {table: columns}


def test_segment_identify_is_flat_and_the_later_wins() -> None:
    event = {
        "type": "identify",
        "properties": {"plan": "p", "type": "of the customer"},
        "traits": {"plan": "t"},
        "context": {"traits": {"plan": "c", "age": 3}, "ip": "i"},
    }
    aside = {"/properties/plan": "p", "/context/traits/plan": "c"}
    expected = {"plan": "t", "age": 3, "type": "of the customer", "context_ip": "i"} | aside
    assert rows_of(event, layout="segment") == {"identifies": expected}


def test_passthrough_keeps_names_and_places() -> None:
    row = rows_of(ORDER_DONE, layout="passthrough")["events"]
    assert row == STAMPS | {
        "type": "track",
        "event": "Order Done",
        "properties_orderId": 7,
        "properties_items": '[{"skuId":"x"}]',
        "context_ip": "203.0.113.9",
        "context_groupId": "g1",
        "context_traits_firstName": "Ada",
        "context_page_url": "u",
    }
    forged = rows_of(ORDER_DONE | {"context_ip": "6.6.6.6"}, layout="passthrough")["events"]
    assert forged == row | {"/context_ip": "6.6.6.6"}


def test_original_names() -> None:
    row = rows_of(ORDER_DONE, keep_original_names=True)["events"]
    assert row == STAMPS | {
        "type": "track",
        "event": "Order Done",
        "orderId": 7,
        "items": '[{"skuId":"x"}]',
        "context_ip": "203.0.113.9",
        "context_group_id": "g1",
        "context_traits_firstName": "Ada",
        "context_page_url": "u",
    }


LEGACY = STAMPS | {
    "type": "page",
    "anonymousId": "a1",
    "timestamp": "2026-11-21T05:55:56.622Z",
    "traits": {"email": "new@example.com", "userPlan": "pro"},
    "properties": {"hash": "", "title": "Tracking page", "width": 1280, "caseName": "c"},
    "context": {
        "ip": "203.0.113.9",
        "locale": "en-US",
        "userAgent": "Agent/1",
        "campaign": {"name": "spring"},
        "traits": {"email": "old@example.com", "userPlan": "pro"},
        "page": {"url": "https://Shop.example:8443/basic?x=1", "title": "Tracking page", "referrer": "r"},
        "screen": {"width": 1280, "height": 720.0, "innerWidth": 1000, "innerHeight": 700},
        "clientIds": {"ga4": {"clientId": "ga"}, "fbp": "fb", "gclid": "g"},
        "geo": {"city": {"name": "Prague"}, "country": {"code": "CZ"}},
    },
}


def test_legacy_has_the_columns_of_classic() -> None:
    assert rows_of(LEGACY, layout="jitsu-legacy")["events"] == {
        "eventn_ctx_event_id": "m1",
        "_timestamp": "2026-11-21T05:55:57.000Z",
        "utc_time": "2026-11-21T05:55:56.622Z",
        "event_type": "page",
        "api_key": "",
        "src": "jitsu",
        "source_ip": "203.0.113.9",
        "anon_ip": "203.0.113.0",
        "user_language": "en-US",
        "user_agent": "Agent/1",
        "user_id": "u1",
        "user_anonymous_id": "a1",
        "user_email": "old@example.com",
        "/traits/email": "new@example.com",
        "user_user_plan": "pro",
        "url": "https://Shop.example:8443/basic?x=1",
        "page_title": "Tracking page",
        "referer": "r",
        "doc_host": "shop.example:8443",
        "doc_path": "/basic",
        "doc_search": "?x=1",
        "screen_resolution": "1280x720",
        "vp_size": "1000x700",
        "ids_ga": "ga",
        "ids_fbp": "fb",
        "click_id_gclid": "g",
        "utm_name": "spring",
        "location_city": "Prague",
        "location_country": "CZ",
        "hash": "",
        "case_name": "c",
    }


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"url": "of the event"}, {"url": "of the event", "src": "jitsu"}),
        ({"src": "mine", "plan": 1}, {"src": "mine", "plan": 1}),
        ({"_timestamp": "1999", "event_type": "x"}, {"/properties/_timestamp": "1999", "src": "jitsu"}),
        ({"path": "/p", "width": 3}, {"path": "/p", "doc_path": "/p", "width": 3}),
    ],
)
def test_legacy_track_has_its_properties_at_the_root(
    properties: dict[str, Any], expected: dict[str, Value]
) -> None:
    event = STAMPS | {"type": "track", "event": "e", "properties": properties}
    row = rows_of(event, layout="jitsu-legacy")["events"]
    assert expected.items() <= row.items()
    assert (row["event_type"], row["_timestamp"]) == ("e", STAMPS["receivedAt"])


def test_legacy_with_original_names_spells_them_as_classic_did() -> None:
    event = STAMPS | {"type": "track", "event": "e", "properties": {"orderId": 7, "$a": 1, "Заказ": 2}}
    row = rows_of(event, layout="jitsu-legacy", keep_original_names=True)["events"]
    assert {"orderid": 7, "_a": 1, "заказ": 2}.items() <= row.items()


@pytest.mark.parametrize("page_url", ["nonsense", "http://[", "mailto:a@b", 7, None, "x" * 1_000])
def test_a_page_without_a_url_has_no_host(page_url: object) -> None:
    event = STAMPS | {"type": "page", "context": {"page": {"url": page_url}}}
    assert "doc_host" not in rows_of(event, layout="jitsu-legacy")["events"]


@pytest.mark.parametrize(
    ("template", "event", "table"),
    [
        ("constant", {}, "constant"),
        ("events_{{.type}}", {}, "events_track"),
        ("{{ .event }}", {"event": "Order Done!"}, "order_done_"),
        ("{{.event}}", {"event": "Заказ"}, "заказ"),
        ("p{{.properties.plan.tier}}", {"properties": {"plan": {"tier": 3}}}, "p3"),
        ("p{{.properties.paid}}", {"properties": {"paid": True}}, "ptrue"),
        ("{{.properties.plan}}", {"properties": None}, "events"),
        ("{{.properties.plan}}", {"properties": {"plan": {"a": 1}}}, "events"),
        ("a_{{.event}}", {"event": ""}, "events"),
        ("a_{{.event}}", {"JITSU_TABLE_NAME": "mine"}, "mine"),
    ],
)
def test_a_template_names_the_table(template: str, event: dict[str, Any], table: str) -> None:
    assert list(rows_of({"type": "track"} | event, table_name_template=template)) == [table]


def test_a_template_and_segment() -> None:
    event = ORDER_DONE | {"properties": PROPERTIES | {"plan": "pro"}}
    options = {"layout": "segment", "table_name_template": "{{.properties.plan}}"}
    (row,) = rows_of(event, **options).items()
    assert row[0] == "pro"
    assert row[1]["type"] == "track"
    assert list(rows_of(ORDER_DONE, **options)) == ["tracks", "Order Done"]


@pytest.mark.parametrize(
    ("options", "key", "time", "trusted"),
    [
        ({}, "message_id", "timestamp", {"events"}),
        ({"layout": "passthrough"}, "messageId", "timestamp", {"events"}),
        ({"keep_original_names": True}, "messageId", "timestamp", {"events"}),
        ({"layout": "jitsu-legacy"}, "eventn_ctx_event_id", "_timestamp", {"events"}),
        ({"layout": "segment"}, "message_id", "timestamp", set()),
        ({"table_name_template": "mine"}, "message_id", "timestamp", {"mine"}),
        ({"table_name_template": "{{.event}}"}, "message_id", "timestamp", {"events"}),
    ],
)
def test_what_the_warehouse_is_told(options: dict[str, Any], key: str, time: str, trusted: set[str]) -> None:
    told = table_options(replace(LINK, **options))
    assert (told.primary_key, told.timestamp_column, told.trusted_tables) == ((key,), time, trusted)
