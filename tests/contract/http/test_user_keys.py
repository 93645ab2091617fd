"""API keys and the audit log over HTTP."""

import json
from typing import Any

import pytest

from tests.running import ADMIN_TOKEN, Answer, Penstock

TOKEN = {"X-Admin-Token": ADMIN_TOKEN}


def ask(
    server: Penstock, method: str, path: str, body: object = None, headers: dict[str, str] = TOKEN
) -> Answer:
    return server.request(method, path, None if body is None else json.dumps(body).encode(), headers)


def made(server: Penstock, **fields: object) -> dict[str, Any]:
    answer = ask(server, "POST", "/api/user/keys", fields)
    assert answer.status == 200, answer.body
    return dict(answer.json)


def bearer(key: dict[str, Any], **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}", **headers}


def test_a_key_is_shown_once_listed_and_revoked(server: Penstock) -> None:
    key = made(server, name="ci", expiresAt="2099-01-01T00:00:00Z")
    assert key["key"] == f"{key['id']}:{key['plaintext']}"
    answer = ask(server, "GET", "/api/user/keys", headers=bearer(key))
    assert key["plaintext"] not in answer.body.decode()
    (listed,) = [one for one in answer.json["keys"] if one["id"] == key["id"]]
    assert (listed["name"], listed["role"], listed["expiresAt"][:4]) == ("ci", "admin", "2099")
    assert listed["hint"] == f"{key['plaintext'][:3]}*{key['plaintext'][-3:]}"
    assert listed["lastUsed"] is not None
    assert ask(server, "DELETE", f"/api/user/keys/{key['id']}").json["id"] == key["id"]
    assert ask(server, "DELETE", f"/api/user/keys/{key['id']}").status == 404
    assert ask(server, "GET", "/api/user/keys", headers=bearer(key)).status == 401


def test_a_key_may_end_after_the_last_time_that_can_be_written(server: Penstock) -> None:
    key = made(server, expiresAt="9999-12-31T23:59:59-23:59")
    assert key["expiresAt"] == "9999-12-31T23:59:59.000Z"


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_keys_are_for_admins(server: Penstock, role: str) -> None:
    key = made(server, role=role)
    for method, path in (("GET", "/api/user/keys"), ("POST", "/api/user/keys"), ("GET", "/api/v1/audit")):
        answer = ask(server, method, path, headers=bearer(key))
        assert (answer.status, answer.json["error"]) == (403, "key_forbidden")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"role": "god"}, "role"),
        ({"rolle": "admin"}, "rolle"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"expiresAt": "2001-01-01"}, "expiresAt"),
        ([], ""),
    ],
)
def test_a_wrong_wish_is_400_with_its_path(server: Penstock, body: object, path: str) -> None:
    answer = ask(server, "POST", "/api/user/keys", body)
    assert answer.status == 400
    assert [fault["path"] for fault in answer.json["errors"]] == [path]


def test_what_is_not_json_is_400(server: Penstock) -> None:
    answer = server.request("POST", "/api/user/keys", b"{", TOKEN)
    assert (answer.status, answer.json["error"]) == (400, "bad_json")


def test_without_a_key_nobody_is_let_in(server: Penstock) -> None:
    answer = ask(server, "GET", "/api/user/keys", headers={})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="penstock"')


def test_who_guesses_is_refused_unheard(server: Penstock) -> None:
    """The server trusts its proxy here, so the guesser has an address of its own."""
    guess = {"Authorization": "Bearer key-1:guess", "X-Forwarded-For": "192.0.2.66"}
    statuses = [ask(server, "GET", "/api/user/keys", headers=guess).status for _ in range(12)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert int(ask(server, "GET", "/api/user/keys", headers=guess).headers["retry-after"]) >= 1
    assert (
        ask(server, "GET", "/api/user/keys", headers={**TOKEN, "X-Forwarded-For": "192.0.2.67"}).status == 200
    )


def test_who_guesses_the_admin_token_is_told_to_wait(server: Penstock) -> None:
    """Wherever it is asked for; who has it is let in all the same, for it is long."""
    there = {"X-Forwarded-For": "192.0.2.68"}
    paths = ["/api/v1/links?token=wrong", "/api/v1/events?token=wrong"] * 6
    statuses = [ask(server, "GET", path, headers=there).status for path in paths]
    assert statuses == [401] * 10 + [429] * 2
    assert ask(server, "GET", "/api/v1/links", headers=there).status == 401
    assert ask(server, "GET", "/api/v1/links", headers={**TOKEN, **there}).status == 200


def test_the_audit_log_says_who_did_what(server: Penstock) -> None:
    admin = made(server, name="admin of the audit test")
    made_by_it = ask(server, "POST", "/api/user/keys", {"name": "second"}, bearer(admin)).json
    newest, older = ask(server, "GET", "/api/v1/audit?limit=2").json["entries"]
    assert (newest["who"], newest["action"], newest["type"]) == (admin["id"], "create", "key")
    assert newest["id"] == made_by_it["id"]
    assert newest["before"] is None
    assert newest["after"]["name"] == "second"
    assert older["who"] == "admin-token"
    page = ask(server, "GET", f"/api/v1/audit?limit=1&before={newest['number']}").json["entries"]
    assert page == [older]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "before=-1", "limit=²", "before=9" + "9" * 30]
)
def test_a_wrong_page_is_400(server: Penstock, query: str) -> None:
    answer = ask(server, "GET", "/api/v1/audit?" + query.replace("²", "%C2%B2"))
    assert (answer.status, answer.json["error"]) == (400, "bad_request")


def test_keys_outlive_kill_9(server: Penstock) -> None:
    key = made(server, role="admin")
    server.kill()
    server.start()
    assert ask(server, "GET", "/api/user/keys", headers=bearer(key)).status == 200
