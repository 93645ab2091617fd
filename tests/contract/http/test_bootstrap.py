"""What browser SDKs load before they send anything."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import BROWSER_KEY, ORIGIN, Penstock, configuration, free_port

_PATH_KEY = BROWSER_KEY.replace(":", "%3A")
_SETTINGS = [
    f"{prefix}/{_PATH_KEY}/settings"
    for prefix in ("/v1/projects", "/v1/projects/projects", "/projects", "/projects/projects")
]
_CONFIG = ["/sourceConfig", "/sourceConfig/"]
_CONFIG_QUERY = f"?p=npm&v=2.52.21&writeKey={_PATH_KEY}"
_SCRIPTS = ["/p.js", "/s/lib.js", "/datafly.js", "/d.js", "/analytics.js/v1/KEY/analytics.min.js"]
_DOCUMENTS = [*_SETTINGS, *(path + _CONFIG_QUERY for path in _CONFIG)]


def _get(server: Penstock, path: str, **headers: str) -> Any:
    return server.request("GET", path, headers={"Origin": ORIGIN, **headers})


@pytest.mark.parametrize("path", _SETTINGS)
def test_segment_settings(server: Penstock, path: str) -> None:
    answer = _get(server, path)
    segment = answer.json["integrations"]["Segment.io"]
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["cache-control"].startswith("public")
    assert (segment["apiKey"], segment["protocol"]) == (BROWSER_KEY, "http")
    assert segment["apiHost"] == f"127.0.0.1:{server.port}/v1"
    assert answer.json["integrations"].keys() == {"Segment.io"}
    assert answer.json["metrics"] == {"sampleRate": 0, "host": segment["apiHost"]}


@pytest.mark.parametrize("in_path", ["priv:a/t+e=", "priv%3Aa%2Ft%2Be%3D"])
def test_any_key_in_the_path(server: Penstock, in_path: str) -> None:
    answer = _get(server, f"/v1/projects/{in_path}/settings")
    assert (answer.status, answer.json["integrations"]["Segment.io"]["apiKey"]) == (200, "priv:a/t+e=")


@pytest.mark.parametrize("path", _CONFIG)
@pytest.mark.parametrize("where", ["query", "basic", "header"])
def test_rudder_source_config(server: Penstock, path: str, where: str) -> None:
    basic = base64.b64encode(f"{BROWSER_KEY}:".encode()).decode()
    query = _CONFIG_QUERY if where == "query" else ""
    headers = {"basic": {"Authorization": f"Basic {basic}"}, "header": {"X-Write-Key": BROWSER_KEY}}
    answer = _get(server, path + query, **headers.get(where, {}))
    source = answer.json["source"]
    assert (answer.status, source["enabled"], source["writeKey"]) == (200, True, BROWSER_KEY)
    assert (source["destinations"], source["connections"], source["dataplanes"]) == ([], [], {})
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", _DOCUMENTS)
def test_preflight_head_and_other_methods(server: Penstock, path: str) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Headers": "authorization"}
    preflight = server.request("OPTIONS", path, headers=asked)
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET, OPTIONS")
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    assert server.request("HEAD", path).status == 200
    refused = server.request("POST", path, b"{}")
    assert (refused.status, refused.json["code"], refused.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, OPTIONS, HEAD",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/projects/nobody/settings",
        "/v1/projects/%00/settings",
        "/sourceConfig",
        "/sourceConfig/?writeKey=nobody",
    ],
)
def test_an_unknown_key_is_401_that_a_page_can_read(server: Penstock, path: str) -> None:
    answer = _get(server, path)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "cache-control" not in answer.headers


def test_an_origin_that_the_key_does_not_allow(server: Penstock) -> None:
    answer = _get(server, "/v1/projects/dk_live_abc123/settings", Origin="https://evil.example.com")
    assert (answer.status, answer.json["code"]) == (403, "origin_not_allowed")


def test_behind_a_trusted_proxy(server: Penstock) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "events.example.com"}
    segment = _get(server, _SETTINGS[0], **forwarded).json["integrations"]["Segment.io"]
    assert (segment["protocol"], segment["apiHost"]) == ("https", "events.example.com/v1")
    assert _get(server, _SETTINGS[0], Host='x"y').status == 400


@pytest.fixture
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    """A server that knows its address, and trusts no proxy."""
    folder = tmp_path_factory.mktemp("public")
    conf = configuration(free_port(), folder / "data", None)
    conf["server"]["public_url"] = "https://events.example.com/in/"
    running = Penstock(folder, conf).start()
    yield running
    assert running.stop() == 0


def test_the_public_url_wins(public: Penstock) -> None:
    answer = _get(public, _SETTINGS[0], **{"X-Forwarded-Host": "evil.example.com", "Host": "other"})
    segment = answer.json["integrations"]["Segment.io"]
    assert (segment["protocol"], segment["apiHost"]) == ("https", "events.example.com/in/v1")


@pytest.mark.parametrize("path", _SCRIPTS)
def test_scripts_of_others_are_not_shipped(server: Penstock, path: str) -> None:
    answer = _get(server, path)
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "does not ship" in answer.json["message"]
    assert server.request("OPTIONS", path, headers={"Origin": ORIGIN}).status == 204
    assert server.request("POST", path, b"").status == 405
