"""Objects over HTTP: made, read, changed and deleted, with the answers of Jitsu's management API."""

import json
from typing import Any

import jsonschema_rs
import pytest

from server.management import MASK
from tests.contract.management.conftest import MINIMAL, Api

KINDS = ("stream", "destination", "function", "service")


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_lives(api: Api, kind: str, name: str) -> None:
    assert api.make(kind, id=name, name="One") == name
    shown = api.get(kind, name)
    assert (shown["id"], shown["type"], shown["workspaceId"], shown["name"]) == (name, kind, "default", "One")
    assert shown in api.config("GET", kind).json["objects"]
    assert api.config("PUT", f"{kind}/{name}", {"name": "Two"}).json == {"success": True}
    after = api.get(kind, name)
    assert {**after, "name": "One", "updatedAt": shown["updatedAt"]} == shown
    assert api.config("DELETE", f"{kind}/{name}").json == after
    assert api.config("GET", f"{kind}/{name}").status == 404


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_a_change_that_changes_nothing(api: Api, kind: str) -> None:
    keys = {"publicKeys": [{"id": "k", "plaintext": f"{kind}-secret"}]} if kind == "stream" else {}
    id_ = api.make(kind, **keys)
    before = api.get(kind, id_)
    assert api.config("PUT", f"{kind}/{id_}", before).status == 200
    assert {**api.get(kind, id_), "updatedAt": before["updatedAt"]} == before


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_what_their_schema_says(api: Api, kind: str) -> None:
    schema = api.server.request("GET", f"/api/schema/{kind}").json
    jsonschema_rs.validator_for(schema).validate(api.get(kind, api.make(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_is_given_once(api: Api, kind: str, name: str) -> None:
    api.make(kind, id=name)
    again = api.config("POST", kind, {**MINIMAL.get(kind, {}), "id": name})
    assert (again.status, again.json["code"]) == (409, "ALREADY_EXISTS")
    assert api.config("PUT", f"{kind}/{name}", {"id": "other"}).status == 400


def test_both_names_of_a_field_are_understood(api: Api) -> None:
    theirs = api.make("stream", publicKeys=["a1:one-secret"], authorizedJavaScriptDomains="https://a.example")
    ours = api.make("stream", browser_keys=["a2:two-secret"], origins=["https://a.example"])
    a, b = api.get("stream", theirs), api.get("stream", ours)
    assert a["authorizedJavaScriptDomains"] == b["authorizedJavaScriptDomains"] == "https://a.example"
    assert [key["id"] for key in (*a["publicKeys"], *b["publicKeys"])] == ["a1", "a2"]
    nested = {"host": "h", "db": "d", "username": "u", "schema": "s"}
    answer = api.config("POST", "destination", {"type": "postgres", "datasource": nested})
    shown = api.get("destination", answer.json["id"])
    assert (shown["destinationType"], shown["database"], shown["defaultSchema"]) == ("postgres", "d", "s")


def test_a_merge_patch_goes_deep_and_null_removes(api: Api) -> None:
    id_ = api.make("destination", parameters={"a": "1", "b": "2"}, name="x")
    api.config("PUT", f"destination/{id_}", {"parameters": {"a": None, "c": "3"}, "name": None, "port": 10})
    shown = api.get("destination", id_)
    assert (shown["parameters"], shown["name"], shown["port"]) == ({"b": "2", "c": "3"}, "", 10)
    assert shown["username"] == "u"


def test_a_whole_number_may_have_a_point(api: Api) -> None:
    id_ = api.make("stream", rateLimit={"burst": 5.0})
    assert json.dumps(api.get("stream", id_)["rateLimit"]["burst"]) == "5"


def test_a_secret_is_masked_and_the_mask_keeps_it(api: Api) -> None:
    id_ = api.make("destination", password="pa55word", sslClientKey="PEM-KEY")
    answer = api.config("GET", f"destination/{id_}")
    assert (answer.json["password"], answer.json["sslClientKey"]) == (MASK, MASK)
    api.config("PUT", f"destination/{id_}", {"password": MASK, "name": "still"})
    entry = api.ask("GET", "/api/v1/audit?limit=1").body.decode()
    assert "pa55word" not in answer.body.decode() + entry
    assert api.get("destination", id_)["password"] == MASK
    api.config("PUT", f"destination/{id_}", {"password": None})
    assert api.get("destination", id_)["password"] == ""


def test_keys_are_hashed_and_known_ones_keep_their_secret(api: Api) -> None:
    first = {"id": "k1", "plaintext": "first-of-secrets"}
    id_ = api.make("stream", privateKeys=[first])
    assert api.get("stream", id_)["privateKeys"] == [{"id": "k1", "hint": "fir*ets"}]
    second = {"id": "k2", "plaintext": "short"}
    assert api.config("PUT", f"stream/{id_}", {"privateKeys": [{"id": "k1"}, second]}).status == 200
    assert api.get("stream", id_)["privateKeys"] == [
        {"id": "k1", "hint": "fir*ets"},
        {"id": "k2", "hint": "***"},
    ]
    unknown = api.config("PUT", f"stream/{id_}", {"privateKeys": [{"id": "k3"}]})
    assert [fault["path"] for fault in unknown.json["errors"]] == ["privateKeys[0]"]


def test_a_key_belongs_to_one_stream(api: Api) -> None:
    api.make("stream", publicKeys=["twice:the-same-secret"])
    again = api.config("POST", "stream", {"privateKeys": [{"id": "twice", "plaintext": "the-same-secret"}]})
    assert (again.status, again.json["errors"][0]["path"]) == (400, "privateKeys[0]")
    of_the_file = api.config("POST", "stream", {"publicKeys": ["site-s:ssecret"]})
    assert of_the_file.status == 400


FAULTS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("stream", {"nam": "x", "domainFallback": "yes"}, ["domainFallback", "nam"]),
    ("stream", {"origins": ["null"], "domains": ["a b"]}, ["authorizedJavaScriptDomains[0]", "domains[0]"]),
    ("stream", {"id": "with space"}, ["id"]),
    ("stream", {"id": 7}, ["id"]),
    ("stream", {"id": 0}, ["id"]),
    ("stream", {"id": ""}, ["id"]),
    ("stream", {"domains": ["a.example", "b\n", "...", "c:8x"]}, ["domains[1]"]),
    ("stream", {"domains": ["...", "c:8x", "a..b"]}, [f"domains[{place}]" for place in range(3)]),
    ("stream", {"origins": ["https://a\n"]}, ["authorizedJavaScriptDomains[0]"]),
    ("stream", {"publicKeys": [{"id": "a\x1b", "plaintext": "b\n"}]}, ["publicKeys[0].id"]),
    ("destination", {**MINIMAL["destination"], "username": "u\0database\0other"}, ["username"]),
    ("stream", {"rateLimit": {"burst": 0}}, ["rateLimit.burst"]),
    ("stream", {"rateLimit": {"burst": 5.5}}, ["rateLimit.burst"]),
    ("stream", {"publicKeys": ["k:one-secret", "k:another-secret"]}, ["publicKeys[1].id"]),
    ("stream", {"publicKeys": [{"id": "new", "plaintext": MASK}]}, ["publicKeys[0]"]),
    ("stream", {"workspaceId": "another"}, ["workspaceId"]),
    ("destination", {}, ["destinationType"]),
    ("destination", {"destinationType": "postgres", "host": "h"}, ["database", "username"]),
    ("destination", {"destinationType": "clickhouse"}, ["destinationType"]),
    ("destination", {**MINIMAL["destination"], "port": 0}, ["port"]),
    ("destination", {**MINIMAL["destination"], "port": 1e30}, ["port"]),
    ("function", {}, ["code"]),
    ("service", {"package": ""}, ["package", "version"]),
    ("link", {"fromId": "site", "toId": "none", "data": {"frequency": 0}}, ["data.frequency"]),
    ("link", {"fromId": "none", "toId": "none"}, ["fromId", "toId"]),
    ("link", {"id": 0, "fromId": "site", "toId": "x"}, ["id"]),
    ("link", {"fromId": "site", "toId": "x", "data": {"tableName": "a\0"}}, ["data.tableName"]),
    ("link", {"fromId": "site", "toId": "x", "type": "pull"}, ["type"]),
]


@pytest.mark.parametrize(("kind", "body", "paths"), FAULTS)
def test_every_fault_has_its_path(api: Api, kind: str, body: dict[str, Any], paths: list[str]) -> None:
    before = api.config("GET", kind).json
    answer = api.config("POST", kind, body)
    assert answer.status == 400
    faults = {fault["path"] for fault in answer.json["errors"]}
    assert set(paths) <= faults
    assert "id" in paths or "id" not in faults
    assert answer.json["message"]
    assert api.config("GET", kind).json == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"", 400),
        (b'"text"', 400),
        (b'{"credentials":' + b"[" * 900 + b"]" * 900 + b"}", 400),
        (b'{"name":"' + b"x" * 1_100_000 + b'"}', 413),
    ],
)
def test_a_body_that_is_no_object(api: Api, body: bytes, status: int) -> None:
    headers = {"X-Admin-Token": "test-admin-token"}
    answer = api.server.request("POST", "/api/default/config/service", body, headers)
    assert (answer.status, bool(answer.json["message"])) == (status, True)


def test_objects_of_the_file_are_read_only(api: Api) -> None:
    shown = api.get("stream", "site")
    assert shown["provisioned"] is True
    assert "ssecret" not in json.dumps(shown)
    for method in ("PUT", "DELETE"):
        refused = api.config(method, "stream/site", {} if method == "PUT" else None)
        assert (refused.status, refused.json["code"]) == (409, "PROVISIONED")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/default/config/nothing", 404),
        ("GET", "/api/nowhere/config/stream", 404),
        ("GET", "/api/default/config/stream/none", 404),
        ("DELETE", "/api/default/config/stream/none", 404),
        ("PATCH", "/api/default/config/stream", 405),
        ("DELETE", "/api/default/config/stream", 405),
        ("GET", "/api/schema/nothing", 404),
        ("GET", "/api/schema/stream/postgres", 404),
    ],
)
def test_what_is_not_there(api: Api, method: str, path: str, status: int) -> None:
    answer = api.ask(method, path)
    assert (answer.status, bool(answer.json["message"])) == (status, True)
    assert status != 405 or "POST" in answer.headers["allow"]


def test_workspaces_keep_objects_apart(api: Api, name: str) -> None:
    assert api.ask("POST", "/api/workspace", {"id": name, "slug": f"{name}-slug"}).json == {"id": name}
    made = api.ask("POST", f"/api/{name}-slug/config/stream", {"name": "inside"}).json["id"]
    assert api.ask("GET", f"/api/{name}/config/stream/{made}").json["workspaceId"] == name
    assert api.config("GET", f"stream/{made}").status == 404
    target = api.make("destination")
    refused = api.config("POST", "link", {"fromId": made, "toId": target})
    assert [fault["path"] for fault in refused.json["errors"]] == ["fromId"]
    assert api.ask("DELETE", f"/api/workspace/{name}").json["code"] == "NOT_EMPTY"
    api.ask("DELETE", f"/api/{name}/config/stream/{made}")
    assert api.ask("DELETE", f"/api/workspace/{name}").json["id"] == name
    assert "default" in [space["id"] for space in api.ask("GET", "/api/workspace").json]


def test_what_is_said_of_a_workspace_can_be_sent_back(api: Api, name: str) -> None:
    api.ask("POST", "/api/workspace", {"id": name, "name": "One"})
    path = f"/api/workspace/{name}"
    assert api.ask("PUT", path, api.ask("GET", path).json).json == {"success": True}
    assert api.ask("PUT", path, {"slug": ["x"]}).json["errors"][0]["path"] == "slug"
    assert api.ask("POST", "/api/workspace", {"slug": {}}).status == 400


def test_a_link_without_an_end_takes_none_of_another_workspace(api: Api, name: str) -> None:
    stream, _, link = api.linked()
    api.config("DELETE", f"stream/{stream}")
    api.ask("POST", "/api/workspace", {"id": name})
    assert api.ask("POST", f"/api/{name}/config/stream", {"id": stream}).status == 200
    assert link not in [one["id"] for one in api.ask("GET", "/api/v1/links").json["links"]]
    assert api.ask("DELETE", f"/api/{name}/config/stream/{stream}?strict=true&cascade=true").status == 200
    assert api.config("GET", f"link/{link}").status == 200


def test_the_mask_of_a_key_keeps_its_secret(api: Api) -> None:
    id_ = api.make("stream", privateKeys=["k:one-secret-of-mine"])
    api.config("PUT", f"stream/{id_}", {"privateKeys": [{"id": "k", "plaintext": MASK}]})
    event = json.dumps({"event": "e", "userId": "u"}).encode()
    for key, status in (("k:one-secret-of-mine", 200), (f"k:{MASK}", 401)):
        assert api.server.request("POST", "/v1/track", event, {"X-Write-Key": key}).status == status


@pytest.mark.parametrize("id_", ["v1", "s", "px", "schema", "user", "admin", "workspace"])
def test_words_of_paths_are_no_workspaces(api: Api, id_: str) -> None:
    assert api.ask("POST", "/api/workspace", {"id": id_}).status == 409
    assert api.ask("POST", "/api/workspace", {"slug": id_}).status == 409


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("editor", 200)])
def test_roles(api: Api, role: str, status: int) -> None:
    key = api.ask("POST", "/api/user/keys", {"role": role}).json["key"]
    bearer = {"Authorization": f"Bearer {key}"}
    assert api.config("GET", "stream", **bearer).status == 200
    assert api.config("POST", "stream", {}, **bearer).status == status
    assert api.ask("POST", "/api/workspace", {}, **bearer).status == 403
    assert api.server.request("GET", "/api/default/config/stream").status == 401
