"""What becomes of an event: the row in Postgres, the answer to "where is my event?", the metrics."""

import json
from urllib.parse import quote

import pytest

from tests.running import BROWSER_KEY, Penstock, eventually, row_of, track


def test_a_track_event_as_a_row(server: Penstock, warehouse: str) -> None:
    event = track("row1", orderId=7, items=[{"sku": "a"}], price=1.5, paid=True)
    assert server.post("/v1/track", {**event, "timestamp": "2026-02-25T14:30:00.000Z"}).status == 200
    row = row_of(warehouse, "row1")
    assert (row["type"], row["event"], row["user_id"]) == ("track", "Tested", "u1")
    assert (row["order_id"], row["price"], row["paid"], json.loads(row["items"])) == (
        7,
        1.5,
        True,
        [{"sku": "a"}],
    )
    assert row["timestamp"].isoformat() == "2026-02-25T14:30:00+00:00"
    assert row["received_at"] is not None


def test_a_repeat_is_answered_alike_and_stored_once(server: Penstock, warehouse: str) -> None:
    before = server.metric("penstock_events_dropped_total", "duplicate")
    answers = [server.post("/v1/track", track("twice", n=n)) for n in (1, 2)]
    assert [(answer.status, answer.json) for answer in answers] == [(200, {"success": True})] * 2
    assert server.metric("penstock_events_dropped_total", "duplicate") == before + 1
    assert row_of(warehouse, "twice")["n"] == 1


def test_a_browser_event_is_stamped(server: Penstock, warehouse: str) -> None:
    event = {"type": "page", "messageId": "browser1", "anonymousId": "a", "context": {"ip": "9.9.9.9"}}
    headers = {"User-Agent": "Agent/1", "Accept-Language": "fr-FR,fr;q=0.9", "X-Forwarded-For": "203.0.113.9"}
    assert server.post("/v1/page", event, BROWSER_KEY, **headers).status == 200
    row = row_of(warehouse, "browser1")
    assert (row["context_ip"], row["request_ip"]) == ("203.0.113.9", "203.0.113.9")
    assert (row["context_user_agent"], row["context_locale"]) == ("Agent/1", "fr-FR")


def test_the_ip_policy_of_the_stream(server: Penstock, warehouse: str) -> None:
    event = {"type": "page", "messageId": "ip1", "anonymousId": "a"}
    assert server.post("/v1/page", event, "priv:ate", **{"X-Forwarded-For": "203.0.113.9"}).status == 200
    assert row_of(warehouse, "ip1")["request_ip"] == "203.0.113.0"


@pytest.mark.parametrize(
    ("name", "body", "column", "value"),
    [
        ("nan", b'{"n":NaN,"m":1}', "m", 1),
        ("surrogate", b'{"s":"a\\ud83d"}', "s", "a\ufffd"),
        ("nul", b'{"nul":"a\\u0000b"}', "nul", "ab"),
        ("digits", b'{"big":18446744073709551616}', "big", "18446744073709551616"),
        ("unicode", '{"имя":"Jürgen 🎉"}'.encode(), "имя", "Jürgen 🎉"),
    ],
)
def test_bodies_that_are_not_strict_json(
    server: Penstock, warehouse: str, name: str, body: bytes, column: str, value: object
) -> None:
    event = b'{"type":"track","event":"Odd","userId":"u","messageId":"%s","properties":%s}' % (
        name.encode(),
        body,
    )
    assert server.request("POST", "/v1/track", event, {"X-Write-Key": "site-s:ssecret"}).status == 200
    assert row_of(warehouse, name)[column] == value


def test_where_is_my_event(server: Penstock, warehouse: str) -> None:
    assert server.post("/v1/track", track("find me")).status == 200
    row_of(warehouse, "find me")
    found = eventually(
        lambda: (
            (answer := server.admin("/api/v1/events/find%20me")).json["events"][0]["links"][0]["state"]
            == "delivered"
            and answer.json
        ),
        "the lookup says delivered",
    )
    event = found["events"][0]
    assert (event["stream"], event["messageId"], event["type"]) == ("site", "find me", "track")
    assert event["offset"] > 0
    assert event["acceptedAt"].endswith("Z")
    assert found["horizon"]["since"].endswith("Z")


def test_an_event_that_nobody_sent_is_404_and_says_since_when(server: Penstock) -> None:
    answer = server.admin("/api/v1/events/never-sent")
    assert answer.status == 404
    assert "horizon" in answer.json


def test_tail(server: Penstock) -> None:
    for i in range(3):
        assert server.post("/v1/track", track(f"tail{i}")).status == 200
    events = server.admin("/api/v1/events?limit=3&stream=site").json["events"]
    assert [event["messageId"] for event in events] == ["tail0", "tail1", "tail2"]
    assert server.admin("/api/v1/events?limit=x").status == 400


def test_metrics_name_what_operators_need(server: Penstock) -> None:
    assert server.post("/v1/track", {}).status == 400
    text = server.request("GET", "/metrics").body.decode()
    for name in (
        "penstock_events_accepted_total{", "penstock_refused_total{", "penstock_wal_bytes",
        "penstock_wal_commit_seconds_bucket{", "penstock_wal_commit_seconds_sum",
        "penstock_link_backlog_events{",
        "penstock_link_lag_seconds{", "penstock_link_dead_letters_total{", "process_resident_memory_bytes",
        "penstock_dedupe_window_seconds",
    ):  # fmt: skip
        assert name in text


def test_ids_that_differ_by_a_nul_are_one_event(server: Penstock, warehouse: str) -> None:
    answers = [
        server.post("/v1/track", track(message_id)) for message_id in ("nul-id", "nul-id\0", "\0nul-id")
    ]
    assert [answer.status for answer in answers] == [200] * 3
    assert row_of(warehouse, "nul-id")["user_id"] == "u1"
    assert len(server.admin("/api/v1/events/nul-id").json["events"]) == 1


def test_a_write_key_in_the_body_is_not_stored(server: Penstock, warehouse: str) -> None:
    event = {**track("keyed"), "writeKey": "site-s:ssecret"}
    assert server.request("POST", "/v1/track", json.dumps(event).encode()).status == 200
    assert "write_key" not in row_of(warehouse, "keyed")


@pytest.mark.parametrize("message_id", ["a/b?c#d", "100%", "ü ö", "%2F", "../x"])
def test_any_message_id_can_be_asked_for(server: Penstock, message_id: str) -> None:
    assert server.post("/v1/track", track(message_id)).status == 200
    answer = server.admin("/api/v1/events/" + quote(message_id, safe=""))
    assert [event["messageId"] for event in answer.json["events"]] == [message_id]
