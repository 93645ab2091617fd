"""`segment-single-table`, against the table of rules and the example of the reference."""

import copy
from typing import Any

import pytest

from server.delivery import columns
from server.delivery.layouts import layout_of
from server.delivery.links import LinkConfig
from server.warehouse import Row

LINK = LinkConfig("link", "site", "pg", generation=1, mode="stream")

ORDER_DONE = {
    "type": "track",
    "event": "Order Done",
    "messageId": "m1",
    "userId": "u1",
    "anonymousId": "a1",
    "timestamp": "2026-11-21T05:55:56.622Z",
    "receivedAt": "2026-11-21T05:55:57.000Z",
    "requestIp": "203.0.113.9",
    "properties": {"orderId": 7, "items": [{"sku": "x"}]},
    "context": {
        "ip": "203.0.113.9",
        "groupId": "g1",
        "traits": {"firstName": "Ada"},
        "page": {"url": "https://shop.example.com/"},
    },
}


def lay_out(event: dict[str, Any]) -> Row:
    rows: list[Row] = []
    before = copy.deepcopy(event)
    layout_of(LINK).lay_out(1, event, rows)
    assert event == before
    assert len(rows) == 1
    return rows[0]


def test_the_example_of_the_reference() -> None:
    row = lay_out(ORDER_DONE)
    assert row.table == "events"
    assert row.values == {
        "message_id": "m1",
        "user_id": "u1",
        "anonymous_id": "a1",
        "timestamp": "2026-11-21T05:55:56.622Z",
        "received_at": "2026-11-21T05:55:57.000Z",
        "request_ip": "203.0.113.9",
        "event": "Order Done",
        "type": "track",
        "order_id": 7,
        "items": '[{"sku":"x"}]',
        "context_ip": "203.0.113.9",
        "context_group_id": "g1",
        "context_traits_first_name": "Ada",
        "context_page_url": "https://shop.example.com/",
    }


IDENTIFY = {"type": "identify", "userId": "u"}
GROUP = {"type": "group", "groupId": "g"}
TRACK = {"type": "track", "event": "e"}
PAGE = {"type": "page"}

CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # name, the event without its frame, the frame, the columns besides those of the frame
    (
        "identify: traits go below context",
        {"traits": {"email": "x"}},
        IDENTIFY,
        {"context_traits_email": "x"},
    ),
    (
        "identify: the event's traits win over the context's",
        {"traits": {"a": 2, "b": 3}, "context": {"traits": {"a": 1, "c": 4}}},
        IDENTIFY,
        {"context_traits_a": 2, "context_traits_b": 3, "context_traits_c": 4, "/context/traits/a": 1},
    ),
    (
        "identify: an object of the context's traits is overwritten as a whole",
        {"traits": {"address": "x"}, "context": {"traits": {"address": {"city": "y"}}}},
        IDENTIFY,
        {"context_traits_address": "x", "/context/traits/address/city": "y"},
    ),
    ("identify: group of the context", {"context": {"groupId": "c"}}, IDENTIFY, {"context_group_id": "c"}),
    (
        "identify: group of the context before that of the traits",
        {"context": {"groupId": "c", "traits": {"groupId": "x"}}, "traits": {"groupId": "t"}},
        IDENTIFY,
        {"context_group_id": "c"},
    ),
    (
        "identify: group of the traits before that of the context's traits",
        {"context": {"traits": {"groupId": "x"}}, "traits": {"groupId": "t"}},
        IDENTIFY,
        {"context_group_id": "t"},
    ),
    ("identify: properties at the root", {"properties": {"plan": "p"}}, IDENTIFY, {"plan": "p"}),
    (
        "identify: traits among the properties stay at the root",
        {"properties": {"traits": {"a": 1}}},
        IDENTIFY,
        {"traits_a": 1},
    ),
    (
        "group: traits go below context_group, the id beside them",
        {"traits": {"name": "n"}, "context": {"traits": {"a": 1}}},
        GROUP,
        {"context_group_name": "n", "context_group_id": "g", "context_traits_a": 1},
    ),
    (
        "group: groupId of the properties stays",
        {"properties": {"groupId": "p"}},
        GROUP,
        {"group_id": "p", "context_group_id": "g"},
    ),
    (
        "track: traits of the properties go below context and win",
        {"properties": {"traits": {"a": 2}}, "context": {"traits": {"a": 1, "b": 1}}},
        TRACK,
        {"context_traits_a": 2, "context_traits_b": 1, "/context/traits/a": 1},
    ),
    ("track: the event's own traits stay at the root", {"traits": {"a": 1}}, TRACK, {"traits_a": 1}),
    (
        "track: group of the traits of the context",
        {"context": {"traits": {"groupId": "t"}}},
        TRACK,
        {"context_group_id": "t"},
    ),
    (
        "page: traits of the properties stay at the root",
        {"properties": {"traits": {"a": 2}, "url": "u"}, "context": {"traits": {"a": 1}}},
        PAGE,
        {"traits_a": 2, "url": "u", "context_traits_a": 1},
    ),
    (
        "screen and alias are as page",
        {"previousId": "p", "properties": {"x": 1}},
        {"type": "alias"},
        {"previous_id": "p", "x": 1},
    ),
    (
        "a property named like a field of the event loses",
        {"properties": {"message_id": "x"}, "messageId": "m"},
        TRACK,
        {"message_id": "m", "/properties/message_id": "x"},
    ),
    (
        "so does an object",
        {"properties": {"timestamp": {"a": 1}}, "timestamp": "t"},
        TRACK,
        {"timestamp": "t", "/properties/timestamp/a": 1},
    ),
    (
        "so does one below a null",
        {"properties": {"user_id": "x"}, "userId": None},
        TRACK,
        {"/properties/user_id": "x"},
    ),
    (
        "so does one below an object",
        {"properties": {"channel": "x"}, "channel": {"a": 1}},
        TRACK,
        {"channel_a": 1, "/properties/channel": "x"},
    ),
    (
        "a property cannot play the server's context",
        {"properties": {"context_ip": "x"}, "context": {"ip": "i"}},
        TRACK,
        {"context_ip": "i", "/properties/context_ip": "x"},
    ),
    ("type cannot be overwritten", {"properties": {"type": "x"}}, TRACK, {"/properties/type": "x"}),
    (
        "null and empty objects give no column",
        {"properties": {"a": None, "b": {}, "c": {"d": {}}}},
        TRACK,
        {},
    ),
    (
        "null properties, context and traits are absent",
        {"properties": None, "context": None, "traits": None},
        IDENTIFY,
        {},
    ),
    ("an empty key", {"properties": {"": 1, "a": {"": 2}}}, TRACK, {"_unnamed": 1, "a__unnamed": 2}),
    ("an empty array is one", {"properties": {"a": []}}, TRACK, {"a": "[]"}),
    (
        "keys inside arrays are snake case too",
        {"properties": {"a": [{"skuId": 1, "deepDown": [{"xY": None}]}, "s", [2.5]]}},
        TRACK,
        {"a": '[{"sku_id":1,"deep_down":[{"x_y":null}]},"s",[2.5]]'},
    ),
    (
        "session ids and headers are JSON text with their own keys",
        {
            "context": {
                "clientIds": {"ga4": {"clientId": "c", "sessionIds": {"G-A": "1"}}},
                "headers": {"X-A": "b"},
            }
        },
        PAGE,
        {
            "context_client_ids_ga4_client_id": "c",
            "context_client_ids_ga4_session_ids": '{"G-A":"1"}',
            "context_headers": '{"X-A":"b"}',
        },
    ),
    (
        "scalars keep their type",
        {"properties": {"a": True, "b": 1.0, "c": 2**70, "d": ""}},
        TRACK,
        {"a": True, "b": 1.0, "c": 2**70, "d": ""},
    ),
    (
        "integers beyond 64 bits keep their digits in arrays",
        {"properties": {"a": [2**70]}},
        TRACK,
        {"a": f"[{2**70}]"},
    ),
    (
        "names",
        {"properties": {"userID": 1, "page1Url": 2, "User_Name": 3, "HTTP": 4, "two words": 5, "a.b": 6}},
        TRACK,
        {"user_i_d": 1, "page1url": 2, "user_name": 3, "h_t_t_p": 4, "two_words": 5, "a_b": 6},
    ),
    (
        "hints are no columns",
        {"__sql_type_x": "json", "properties": {"__sql_type_a": "text", "a": 1}},
        TRACK,
        {"a": 1},
    ),
    (
        "what should be an object but is not is kept",
        {"properties": "p", "context": 1, "traits": [1]},
        IDENTIFY,
        {"properties": "p", "context": 1, "traits": "[1]"},
    ),
]


@pytest.mark.parametrize(
    ("body", "frame", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_rules(body: dict[str, Any], frame: dict[str, Any], expected: dict[str, Any]) -> None:
    framed = {"userId": "user_id", "event": "event", "type": "type"}
    of_frame = {framed[key]: value for key, value in frame.items() if key in framed and key not in body}
    assert lay_out(frame | body).values == of_frame | expected


def test_group_id_is_beside_the_group() -> None:
    assert lay_out(GROUP).values == {"type": "group", "context_group_id": "g"}


def test_a_named_table_is_made_legal() -> None:
    row = lay_out(TRACK | {"JITSU_TABLE_NAME": 'or"ders;--'})
    assert row.table == "or_ders_--"
    assert row.values == {"type": "track", "event": "e"}


@pytest.mark.parametrize("name", ["", None, 7, {"a": 1}])
def test_what_names_no_table_does_not(name: object) -> None:
    assert lay_out(TRACK | {"JITSU_TABLE_NAME": name}).table == "events"


def test_deep_objects_end_as_json_text() -> None:
    value: dict[str, Any] = {"end": 1}
    for _ in range(150):
        value = {"d": value}
    values = lay_out(TRACK | {"properties": value}).values
    assert [v for v in values.values() if str(v).endswith('{"end":1}' + "}" * (150 - columns.DEPTH_MAX - 1))]


def test_keys_that_never_repeat_do_not_grow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.delivery.layouts.COLUMNS_MAX", 100)
    layout = layout_of(LINK)
    for turn in range(50):
        rows: list[Row] = []
        layout.lay_out(turn, TRACK | {"properties": {f"k{turn}_{n}": {"a": n} for n in range(20)}}, rows)
        assert rows[0].values[f"k{turn}_19_a"] == 19
        assert layout._short.names.known <= 100
