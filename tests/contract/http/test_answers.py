"""What each family answers: statuses, bodies, headers."""

import base64
import gzip
import json

import pytest

from tests.running import ADMIN_TOKEN, BROWSER_KEY, ORIGIN, SERVER_KEY, Answer, Penstock, track

_PAGE = {"type": "page", "anonymousId": "a1", "properties": {"url": "https://shop.example.com/"}}
_BY_LETTER = {
    "t": {"event": "E", "anonymousId": "a"},
    "p": {"anonymousId": "a"},
    "i": {"userId": "u"},
    "g": {"groupId": "g", "anonymousId": "a"},
    "a": {"userId": "u", "previousId": "p"},
    "s": {"anonymousId": "a", "name": "Home"},
}
_LONG = {"t": "track", "p": "page", "i": "identify", "g": "group", "a": "alias", "s": "screen"}
_BATCH_PATHS = [
    "/v1/batch",
    "/v1/b",
    "/v1/import",
    "/v1/batch/b",
    "/batch",
    "/b",
    "/batch/b",
    "/api/s/s2s/batch",
]


def _basic(credential: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credential.encode()).decode()}


@pytest.mark.parametrize("letter", _LONG)
@pytest.mark.parametrize("prefix", ["/v1/", "/api/s/", "/api/s/s2s/"])
def test_every_type_by_letter_and_by_name(server: Penstock, prefix: str, letter: str) -> None:
    success = {"success": True} if prefix == "/v1/" else {"ok": True}
    for segment in (letter, _LONG[letter]):
        answer = server.post(prefix + segment, _BY_LETTER[letter])
        assert (answer.status, answer.json) == (200, success)


@pytest.mark.parametrize("segment", ["event", "e"])
def test_jitsu_event_takes_the_type_from_the_payload(server: Penstock, segment: str) -> None:
    assert server.post(f"/api/s/{segment}", _PAGE).json == {"ok": True}
    refused = server.post(f"/api/s/{segment}", {"anonymousId": "a"})
    assert (refused.status, refused.json["ok"]) == (400, False)


@pytest.mark.parametrize("path", _BATCH_PATHS)
def test_batch_answers_with_counts(server: Penstock, path: str) -> None:
    answer = server.post(path, {"batch": [track(f"{path}-{i}") for i in range(3)]})
    assert answer.status == 200
    assert answer.json == {"success": True, "ok": True, "receivedEvents": 3, "okEvents": 3}


def test_a_bad_item_does_not_sink_the_good_ones(server: Penstock) -> None:
    answer = server.post(
        "/v1/batch", {"batch": [track("good"), {"type": "track", "messageId": "bad", "userId": "u"}, 7]}
    )
    body = answer.json
    assert (answer.status, body["ok"], body["receivedEvents"], body["okEvents"]) == (200, False, 3, 1)
    assert [(error["index"], error["messageId"]) for error in body["errors"]] == [(1, "bad"), (2, None)]
    assert all(error["code"] and error["message"] for error in body["errors"])


def test_a_batch_of_bad_items_only_is_400(server: Penstock) -> None:
    answer = server.post("/v1/batch", {"batch": [{"type": "track"}, 7]})
    assert answer.status == 400
    assert answer.json["code"] == "invalid_event"
    assert len(answer.json["errors"]) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/track", b"{", 400, "bad_json"),
        ("/v1/track", b"", 400, "bad_json"),
        ("/v1/track", b"[]", 400, "empty_batch"),
        ("/v1/track", b'{"userId":"u"}', 400, "invalid_event"),
        ("/v1/identify", b'{"traits":{}}', 400, "invalid_event"),
        ("/v1/group", b'{"userId":"u","groupId":""}', 400, "invalid_event"),
        ("/v1/page", b'{"userId":"u","properties":[]}', 400, "invalid_event"),
        ("/v1/page", b'{"userId":"u","messageId":"' + b"m" * 257 + b'"}', 400, "invalid_event"),
        ("/v1/page", b"{}", 400, "invalid_event"),
        ("/api/s/nonsense", b"{}", 400, "unknown_type"),
        ("/api/s/event", b'{"type":"nonsense"}', 400, "unknown_type"),
        ("/v1/batch", b'{"batch":[]}', 400, "empty_batch"),
        ("/v1/nonsense", b"{}", 404, "not_found"),
        ("/V1/track", b"{}", 404, "not_found"),
    ],
)
def test_refusals(server: Penstock, path: str, body: bytes, status: int, code: str) -> None:
    answer = server.request("POST", path, body, {"X-Write-Key": SERVER_KEY})
    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.json["message"]
    assert "access-control-allow-methods" in answer.headers


def test_error_bodies_have_their_familys_shape(server: Penstock) -> None:
    jitsu = server.post("/api/s/track", {}).json
    gateway = server.post("/v1/track", {"userId": "u"}).json
    assert (jitsu["ok"], jitsu["error"], jitsu["code"]) == (False, jitsu["message"], "invalid_event")
    assert (gateway["success"], gateway["error"]) == (
        False,
        {"code": gateway["code"], "message": gateway["message"]},
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Write-Key": SERVER_KEY},
        {"Authorization": f"Bearer {SERVER_KEY}"},
        _basic(SERVER_KEY),
        _basic(SERVER_KEY + ":"),
        _basic(SERVER_KEY + ":\n"),
    ],
    ids=["x-write-key", "bearer", "basic", "basic-colon", "basic-colon-newline"],
)
def test_a_key_in_a_header(server: Penstock, headers: dict[str, str]) -> None:
    assert server.request("POST", "/v1/track", json.dumps(track("h")).encode(), headers).status == 200


@pytest.mark.parametrize("name", ["writeKey", "writekey", "wk"])
def test_a_key_in_the_query(server: Penstock, name: str) -> None:
    path = f"/v1/track?{name}={SERVER_KEY.replace(':', '%3A')}"
    assert server.request("POST", path, json.dumps(track("q")).encode()).status == 200


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/api/s/track"])
def test_a_key_in_the_body(server: Penstock, path: str) -> None:
    event = track("b")
    body = (
        {"batch": [event], "writeKey": SERVER_KEY}
        if path.endswith("batch")
        else {**event, "writeKey": SERVER_KEY}
    )
    assert server.request("POST", path, json.dumps(body).encode()).status == 200


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/api/v1/event"])
def test_a_key_in_a_large_body_that_needs_repairs(server: Penstock, path: str) -> None:
    event = {**track(f"large-{path}", text="x" * 300_000), "writeKey": SERVER_KEY, "nan": float("nan")}
    assert server.request("POST", path, json.dumps(event).encode()).status == 200
    event["writeKey"] = "nobody's"
    assert server.request("POST", path, json.dumps(event).encode()).status == 401


def test_a_header_beats_the_body(server: Penstock) -> None:
    masked = {**track("m"), "writeKey": "site-s:***"}
    assert server.post("/api/s/track", masked).status == 200


@pytest.mark.parametrize("headers", [{}, {"X-Write-Key": "nobody"}, {"Authorization": "Basic ?"}])
def test_no_key_or_an_unknown_one_is_401(server: Penstock, headers: dict[str, str]) -> None:
    answer = server.request("POST", "/v1/track", b"{}", headers)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")


def test_a_keyless_request_goes_to_the_stream_of_its_host_on_jitsu_paths_only(server: Penstock) -> None:
    body = json.dumps(_PAGE).encode()
    assert server.request("POST", "/api/s/page", body, {"Host": "data.example.com"}).status == 200
    batch = json.dumps([_PAGE | {"type": "page"}]).encode()
    assert server.request("POST", "/api/s/s2s/batch", batch, {"Host": "data.example.com"}).status == 200
    assert server.request("POST", "/v1/page", body, {"Host": "data.example.com"}).status == 401


def _from(server: Penstock, origin: str, key: str = BROWSER_KEY) -> Answer:
    return server.post("/v1/page", _PAGE, key, Origin=origin)


def test_a_known_origin_is_echoed(server: Penstock) -> None:
    answer = _from(server, ORIGIN)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


def test_an_unknown_origin_is_403_for_browser_keys_only(server: Penstock) -> None:
    answer = _from(server, "https://evil.example.com", "dk_live_abc123")
    assert (answer.status, answer.json["code"]) == (403, "origin_not_allowed")
    assert _from(server, "https://evil.example.com", SERVER_KEY).status == 200


def test_without_an_origin_nothing_is_echoed(server: Penstock) -> None:
    answer = server.post("/v1/page", _PAGE, BROWSER_KEY)
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


def test_an_error_carries_cors_headers(server: Penstock) -> None:
    answer = server.request("POST", "/v1/page", b"{", {"X-Write-Key": BROWSER_KEY, "Origin": ORIGIN})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (400, ORIGIN)


def test_preflight(server: Penstock) -> None:
    answer = server.request(
        "OPTIONS", "/v1/t", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    )
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-max-age"] == "7200"
    assert answer.headers["access-control-allow-methods"] == "POST, OPTIONS"
    assert {"authorization", "content-type", "x-write-key"} <= {
        name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")
    }


@pytest.mark.parametrize(("method", "status"), [("GET", 405), ("PUT", 405), ("DELETE", 405), ("HEAD", 200)])
def test_other_methods(server: Penstock, method: str, status: int) -> None:
    answer = server.request(method, "/v1/track")
    assert answer.status == status
    assert method == "HEAD" or answer.json["code"] == "method_not_allowed"


def test_gzip(server: Penstock) -> None:
    body = gzip.compress(json.dumps({"batch": [track("gz")]}).encode())
    headers = {
        "X-Write-Key": SERVER_KEY,
        "Content-Encoding": "gzip",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert server.request("POST", "/v1/batch", body, headers).json["okEvents"] == 1
    headers["Content-Encoding"] = "Identity, X-GZip"
    assert server.request("POST", "/v1/batch", body, headers).json["okEvents"] == 1


@pytest.mark.parametrize("path", ["/v1/batch", "/api/v1/events/bulk"])
@pytest.mark.parametrize("encoding", ["br", "gzip, gzip"])
def test_other_encodings(server: Penstock, path: str, encoding: str) -> None:
    headers = {"X-Write-Key": SERVER_KEY, "Content-Encoding": encoding}
    assert server.request("POST", path, b"{}", headers).status == 415


def test_a_batch_of_bad_events_is_400_whatever_the_first_one_is(server: Penstock) -> None:
    large, other = track("large", text="x" * 1_000_001), track("b") | {"type": "no"}
    for batch, code in (([large, other], "unknown_type"), ([large], "invalid_event")):
        answer = server.post("/v1/batch", {"batch": batch})
        assert (answer.status, answer.json["code"]) == (400, code)
        assert answer.json["errors"][0]["code"] == "too_large"


def test_too_large(server: Penstock) -> None:
    event = server.post("/v1/track", track("large", text="x" * 1_000_001))
    body = server.request("POST", "/v1/batch", bytes(10_000_001), {"X-Write-Key": SERVER_KEY})
    items = server.post("/v1/batch", {"batch": [track(f"i{i}") for i in range(2_501)]})
    assert (event.status, body.status, items.status) == (413, 413, 400)


def test_rate_limit(server: Penstock) -> None:
    full = server.post("/v1/batch", {"batch": [track(f"l{i}") for i in range(10)]}, "lim:it")
    answer = server.post("/v1/track", track("more"), "lim:it")
    assert (full.status, answer.status, answer.json["code"]) == (200, 429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["ratelimit-policy"] == '"key";q=3;w=3'
    assert answer.headers["ratelimit"].startswith('"key";r=')


def test_json_for_unknown_paths_and_methods_of_the_framework(server: Penstock) -> None:
    assert server.request("GET", "/nowhere").json["code"] == "not_found"
    assert server.request("POST", "/health", b"").status == 405
    assert server.request("GET", "/HEALTH").status == 404
    assert server.request("GET", "/health").json == {"status": "pass"}


def test_admin_needs_the_token(server: Penstock) -> None:
    for headers in ({}, {"X-Admin-Token": "wrong"}):
        answer = server.request("GET", "/api/v1/events", headers=headers)
        assert (answer.status, answer.json["message"]) == (401, "Admin token does not match")


def test_a_key_in_the_query_says_nothing_of_the_headers_beside_it(server: Penstock) -> None:
    body = json.dumps(track("beside")).encode()
    empty = _basic(":")
    assert server.request("POST", f"/v1/track?writeKey={SERVER_KEY}", body, empty).status == 200
    assert server.request("POST", "/v1/track", body, empty).status == 401
    assert server.request("POST", "/v1/track?writeKey=nonsense", body, empty).status == 401


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "9" * 5000, "0000000019999999999"])
def test_a_limit_out_of_bounds(server: Penstock, limit: str) -> None:
    assert server.admin(f"/api/v1/events?limit={limit}").status == 400


def test_links_are_read_and_changed_by_admins(server: Penstock) -> None:
    links = server.admin("/api/v1/links").json["links"]
    assert "site-warehouse" in [link["id"] for link in links]
    assert server.admin("/api/v1/links/site-warehouse").status == 200
    for verb in ("pause", "resume"):
        path, token = f"/api/v1/links/site-warehouse/{verb}", {"X-Admin-Token": ADMIN_TOKEN}
        assert server.request("POST", path, b"", token).status == 200
        assert server.request("POST", path, b"").status == 401
