"""The routes of RudderStack and Jitsu Classic, arrays, SDK metrics: answers, and the rows they lead to."""

import base64
import gzip
import json
from collections.abc import Callable

import pytest

from server.app import ingest_routes
from tests.running import BROWSER_KEY, ORIGIN, SERVER_KEY, Answer, Penstock, row_of, track

_QUERY_KEY = SERVER_KEY.replace(":", "%3A")
_CLASSIC = [
    "/api/v1/event",
    "/api/v1/events",
    "/api/v1/s2s/event",
    "/api/v1/s2s/event/",
    "/api/v1/s2s/events",
    "/api.jf6g4",
]
_BEACON = "/beacon/v1/batch"
_BULK = "/api/v1/events/bulk"
_METRICS = ["/v1/m", "/m"]
_JSON_ROUTES = [*sorted(ingest_routes()), "/api.jf6g4"]


def _classic(event_id: str, **fields: object) -> dict[str, object]:
    return {
        "event_id": event_id,
        "event_type": "order",
        "user": {"anonymous_id": "anon-1", "id": "user-1"},
        "utc_time": "2026-02-25T14:30:00.000000Z",
        "api_key": SERVER_KEY,
        "src": "jitsu",
        **fields,
    }


def _any_family(message_id: str) -> bytes:
    """One good event on every route: an array, which all of them take."""
    ids = {"messageId": message_id, "userId": "u", "anonymousId": "a", "groupId": "g"}
    event = {**_classic(message_id), **ids, "type": "track", "event": "E"}
    del event["api_key"]
    return json.dumps([event]).encode()


def _keyed(server: Penstock, path: str, body: bytes, **headers: str) -> Answer:
    return server.request("POST", path, body, {"X-Write-Key": SERVER_KEY, **headers})


# ---- every route, the same questions


@pytest.mark.parametrize("path", _JSON_ROUTES)
def test_a_good_request(server: Penstock, path: str) -> None:
    answer = _keyed(server, path, _any_family(f"good{path}"), Origin=ORIGIN)
    assert answer.status == 200
    assert "ok" in answer.json.values() or True in answer.json.values()
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", [*_JSON_ROUTES, *_METRICS])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_405_in_json(server: Penstock, path: str, method: str) -> None:
    answer = server.request(method, path, b"", {"Origin": ORIGIN})
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST, OPTIONS, HEAD"
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", [*_JSON_ROUTES, *_METRICS])
def test_options_and_head(server: Penstock, path: str) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    preflight = server.request("OPTIONS", path, headers=asked)
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert server.request("OPTIONS", path, headers={**asked, "Origin": "null"}).status == 403
    assert server.request("HEAD", path).status == 200


@pytest.mark.parametrize("path", _JSON_ROUTES)
@pytest.mark.parametrize("headers", [{}, {"X-Write-Key": "nobody"}, {"Authorization": "Basic ?"}])
def test_without_a_known_key_401(server: Penstock, path: str, headers: dict[str, str]) -> None:
    body = json.dumps([{"event_type": "x"}]).encode()
    answer = server.request("POST", path, body, headers)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("path", _JSON_ROUTES)
@pytest.mark.parametrize("body", [b"", b"{", b"[1", b"nonsense", b"\xff\xfe"])
def test_what_is_not_json_is_400(server: Penstock, path: str, body: bytes) -> None:
    answer = _keyed(server, path, body)
    assert answer.status == 400
    assert {"code", "message"} <= answer.json.keys()


def test_errors_of_the_classic_family(server: Penstock) -> None:
    for path in ("/api/v1/event", "/api.x"):
        answer = _keyed(server, path, b"{")
        assert answer.json.keys() == {"message", "error", "code"}
    for path in ("/api/v1/nonsense", "/api.v2/event"):
        answer = _keyed(server, path, b"{}")
        assert (answer.status, answer.json["code"]) == (404, "not_found")


# ---- where the key may stand


@pytest.mark.parametrize("path", _CLASSIC)
@pytest.mark.parametrize(
    ("query", "headers", "body_key"),
    [
        (f"?token={_QUERY_KEY}&cookie_policy=comply", {}, None),
        (f"?p_jf6g4={_QUERY_KEY}", {}, None),
        (f"?writeKey={_QUERY_KEY}", {}, None),
        ("", {"X-Auth-Token": SERVER_KEY}, None),
        ("", {"api_key": SERVER_KEY}, None),
        ("", {"Authorization": "Basic " + base64.b64encode(f"{SERVER_KEY}:".encode()).decode()}, None),
        ("", {}, SERVER_KEY),
        ("?token=nobody", {"X-Write-Key": SERVER_KEY}, "nobody"),
    ],
)
def test_the_key_of_a_classic_request(
    server: Penstock, path: str, query: str, headers: dict[str, str], body_key: str | None
) -> None:
    event = {"event_type": "x", **({"api_key": body_key} if body_key else {})}
    assert server.request("POST", path + query, json.dumps([event]).encode(), headers).json == {
        "status": "ok"
    }


def test_only_classic_routes_know_the_classic_places(server: Penstock) -> None:
    body = json.dumps(track("elsewhere")).encode()
    for query, headers in ((f"?token={_QUERY_KEY}", {}), ("", {"X-Auth-Token": SERVER_KEY})):
        assert server.request("POST", "/v1/track" + query, body, headers).status == 401
    keyed = json.dumps({**track("elsewhere"), "api_key": SERVER_KEY}).encode()
    assert server.request("POST", "/v1/track", keyed).status == 401


def test_a_beacon_has_its_key_in_the_query(server: Penstock, warehouse: str) -> None:
    body = json.dumps({"batch": [track("beacon1")], "sentAt": "2026-11-21T05:57:15.093Z"}).encode()
    headers = {"Content-Type": "text/plain", "Origin": ORIGIN}
    answer = server.request("POST", f"{_BEACON}?writeKey={BROWSER_KEY}", body, headers)
    assert (answer.status, answer.json["okEvents"]) == (200, 1)
    row = row_of(warehouse, "beacon1")
    assert (row["event"], row["user_id"]) == ("Tested", "u1")


# ---- rows


@pytest.mark.parametrize("path", _CLASSIC)
def test_a_classic_event_as_a_row(server: Penstock, warehouse: str, path: str) -> None:
    message_id = "classic" + path.replace("/", "-")
    assert _keyed(server, path, json.dumps(_classic(message_id, price=7)).encode()).json == {"status": "ok"}
    row = row_of(warehouse, message_id)
    assert (row["type"], row["event"], row["price"], row["src"]) == ("track", "order", 7, "jitsu")
    assert (row["user_id"], row["anonymous_id"]) == ("user-1", "anon-1")
    assert row["timestamp"].isoformat() == "2026-02-25T14:30:00+00:00"
    assert row.get("api_key") is None


def test_a_template_holds_for_its_events(server: Penstock, warehouse: str) -> None:
    template = {"src": "app", "user": {"id": "user-2"}, "api_key": SERVER_KEY}
    events = [{"event_id": f"tpl{n}", "event_type": "pageview", "n": n} for n in range(2)]
    body = json.dumps({"template": template, "events": events}).encode()
    assert server.request("POST", "/api/v1/s2s/events", body).json == {"status": "ok"}
    for n in range(2):
        row = row_of(warehouse, f"tpl{n}")
        assert (row["type"], row["user_id"], row["src"], row["n"]) == ("page", "user-2", "app", n)


def test_events_without_an_id_get_one_each(server: Penstock) -> None:
    before = server.metric("penstock_events_accepted_total")
    body = json.dumps([_classic("", n=n) for n in range(5)]).encode()
    assert _keyed(server, "/api/v1/event", body).status == 200
    assert server.metric("penstock_events_accepted_total") == before + 5


def test_a_bad_event_of_an_array_is_named(server: Penstock) -> None:
    answer = _keyed(server, "/api/v1/event", json.dumps([_classic("arr1"), 7]).encode())
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert [error["index"] for error in answer.json["errors"]] == [1]
    assert _keyed(server, "/api/v1/event", b"[7]").status == 400


@pytest.mark.parametrize("path", ["/v1/batch", "/batch", _BEACON, "/v1/track", "/api/s/event"])
def test_an_array_of_events(server: Penstock, path: str) -> None:
    before = server.metric("penstock_events_accepted_total")
    body = json.dumps([track(f"{path}{n}-array") for n in range(2)]).encode()
    assert _keyed(server, path, body).status == 200
    assert server.metric("penstock_events_accepted_total") == before + 2


# ---- bulk


def _lines(*ids: str) -> bytes:
    return b"".join(json.dumps(_classic(message_id)).encode() + b"\n" for message_id in ids)


def _form(content: bytes) -> bytes:
    head = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="e.log"\r\n\r\n'
    return head + content + b"\r\n--XyZ--\r\n"


_TYPE = {"Content-Type": "multipart/form-data; boundary=XyZ"}
_GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("pack", "headers"),
    [
        (_form, _TYPE),
        (lambda lines: _form(gzip.compress(lines)), _TYPE | _GZIP),
        (lambda lines: gzip.compress(_form(lines)), _TYPE | _GZIP),
        (gzip.compress, _GZIP),
        (lambda lines: lines.rstrip(), {}),
    ],
    ids=["form", "gzip-file", "gzip-form", "gzip-body", "body"],
)
def test_bulk(
    server: Penstock,
    warehouse: str,
    request: pytest.FixtureRequest,
    pack: Callable[[bytes], bytes],
    headers: dict[str, str],
) -> None:
    ids = [f"{request.node.name}-{n}" for n in range(3)]
    answer = _keyed(server, _BULK, pack(_lines(*ids)), **headers)
    assert (answer.status, answer.json) == (
        200,
        {"status": "ok", "receivedEvents": 3, "okEvents": 3, "errors": []},
    )
    assert [row_of(warehouse, message_id)["event"] for message_id in ids] == ["order"] * 3


@pytest.mark.parametrize("lines", [1, 2])
def test_the_key_of_a_file_in_its_lines(server: Penstock, lines: int) -> None:
    """No header has it; a file of several lines is no JSON by itself."""
    keyed = json.dumps(_classic("keyed") | {"api_key": SERVER_KEY}).encode() + b"\n"
    assert server.request("POST", _BULK, b"\n" + lines * keyed).status == 200


def test_bulk_says_what_became_of_each_line(server: Penstock) -> None:
    content = _lines("bulk-a") + b"\n{broken\n" + _lines("bulk-b").rstrip()
    answer = _keyed(server, _BULK, _form(content), **_TYPE)
    assert (answer.status, answer.json["receivedEvents"], answer.json["okEvents"]) == (200, 3, 2)
    assert [(error["index"], error["code"]) for error in answer.json["errors"]] == [(3, "bad_json")]
    only_bad = _keyed(server, _BULK, _form(b"{\n["), **_TYPE)
    assert (only_bad.status, len(only_bad.json["errors"])) == (400, 2)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (_form(b"x").replace(b'"file"', b'"other"'), _TYPE, 400),
        (b"--XyZ", _TYPE, 400),
        (_form(b""), _TYPE, 400),
        (_form(b"{}\n"), {"Content-Type": "multipart/form-data"}, 400),
        (_form(gzip.compress(bytes(30_000_000))), _TYPE | _GZIP, 413),
        (_form(b"{}\n"), _TYPE | _GZIP, 400),
        (_form(b"{}\n"), _TYPE | {"Content-Encoding": "br"}, 415),
        (_form(b"{}\n" * 2_501), _TYPE, 400),
    ],
)
def test_what_is_no_upload(server: Penstock, body: bytes, headers: dict[str, str], status: int) -> None:
    assert _keyed(server, _BULK, body, **headers).status == status


def test_reading_events_stays_where_it_was(server: Penstock) -> None:
    assert server.admin("/api/v1/events?limit=1").json.keys() >= {"events"}
    assert server.request("GET", "/api/v1/events").status == 401
    assert server.admin("/api/v1/events/bulk").json.keys() >= {"horizon"}


# ---- SDK metrics


@pytest.mark.parametrize("path", _METRICS)
@pytest.mark.parametrize("body", [b'{"series":[{"type":"Counter"}]}', b"", b"\xff" * 5_000])
def test_sdk_metrics_are_dropped_and_counted(server: Penstock, path: str, body: bytes) -> None:
    before = server.metric("penstock_events_dropped_total", "sdk_metrics")
    answer = server.request("POST", path, body, {"Origin": ORIGIN, "Content-Type": "text/plain"})
    assert (answer.status, answer.json) == (200, {"success": True})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert server.metric("penstock_events_dropped_total", "sdk_metrics") == before + 1
