"""A stored secret goes where it went before: a change that would send it elsewhere brings it along."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from server.clock import SystemClock
from server.management import MASK, SecretBox
from server.management.stored import decoded
from storage import Store, StoreOptions
from tests.contract.management.conftest import Api
from tests.running import Answer, Penstock, configuration, free_port, running

CERTAIN = {"sslMode": "verify-full", "sslServerCA": "system"}
ELSEWHERE: list[dict[str, Any]] = [
    {"host": "evil.example"},
    {"host": "evil.example", "password": MASK},
    {"datasource": {"host": "evil.example", "password": MASK}},
    {"port": 10},
    {"sslMode": "verify-ca"},
    {"sslMode": None},
    {"parameters": None},
    {"sslServerCA": "/somewhere/else.pem"},
]


@pytest.fixture(scope="module")
def certain(api: Api) -> str:
    return api.make("destination", password="pa55", **CERTAIN)


def paths(answer: Answer) -> list[str]:
    return [fault["path"] for fault in answer.json["errors"]]


@pytest.fixture
def own(tmp_path: Path) -> Penstock:
    return Penstock(tmp_path, configuration(free_port(), tmp_path / "data", None))


@pytest.mark.parametrize("change", ELSEWHERE)
def test_a_password_is_not_sent_elsewhere(api: Api, certain: str, change: dict[str, Any]) -> None:
    before = api.get("destination", certain)
    refused = api.config("PUT", f"destination/{certain}", change)
    assert (refused.status, paths(refused)) == (400, ["password"])
    assert "again" in refused.json["errors"][0]["message"]
    assert api.get("destination", certain) == before
    tested = api.config("POST", "destination/test", {"id": certain, **change})
    assert (tested.status, paths(tested)) == (400, ["password"])


@pytest.mark.parametrize("change", [{"name": "n"}, {"database": "d2", "username": "u2"}, {"password": None}])
def test_a_change_at_the_same_place_keeps_it(api: Api, change: dict[str, Any]) -> None:
    id_ = api.make("destination", password="pa55", **CERTAIN)
    assert api.config("PUT", f"destination/{id_}", {**api.get("destination", id_), **change}).status == 200
    assert api.get("destination", id_)["password"] == ("" if "password" in change else MASK)


def test_who_gives_it_again_may_move_it(api: Api) -> None:
    id_ = api.make("destination", password="pa55", parameters={"app.token": "t0ken"}, sslClientKey="PEM")
    moved = {"host": "localhost", "password": "pa55"}
    assert paths(api.config("PUT", f"destination/{id_}", moved)) == ["parameters.app.token"]
    assert api.config("PUT", f"destination/{id_}", {**moved, "parameters": {"app.token": "t"}}).status == 200
    stricter = {"sslMode": "verify-full", "sslServerCA": "system"}
    assert api.config("PUT", f"destination/{id_}", stricter).status == 200


def test_the_password_of_the_file_is_tested_nowhere_else(tmp_path: Path) -> None:
    url = "postgresql://u:pa55@127.0.0.1:9/d"
    with running(Penstock(tmp_path, configuration(free_port(), tmp_path / "data", url))) as server:
        body = {"id": "warehouse", "host": "127.0.0.1"}
        assert Api(server).config("POST", "destination/test", body).json["ok"] is False
        assert paths(Api(server).config("POST", "destination/test", {**body, "port": 10})) == ["password"]


def test_another_package_of_a_service_wants_its_credentials_again(api: Api) -> None:
    id_ = api.make("service", credentials={"inner": "t"})
    assert api.config("PUT", f"service/{id_}", {"version": "2.0"}).status == 200
    refused = api.config("PUT", f"service/{id_}", {"package": "mine/own"})
    assert (refused.status, paths(refused)) == (400, ["credentials"])
    both = {"package": "mine/own", "credentials": {"inner": "t"}}
    assert api.config("PUT", f"service/{id_}", both).status == 200


HIDDEN = {
    "functionsEnv": {"A": "s3cr3t-a", "B": ["s3cr3t-b"]},
    "deep": [{"webhook": {"apiKey": "s3cr3t-c"}}],
    "x": 1,
}


def test_unknown_options_that_look_secret_are_masked_and_sealed(api: Api) -> None:
    _, _, link = api.linked(**HIDDEN)
    shown = api.get("link", link)["data"]
    assert shown["functionsEnv"] == {"A": MASK, "B": [MASK]}
    assert (shown["deep"], shown["x"]) == ([{"webhook": {"apiKey": MASK}}], 1)
    entry = api.ask("GET", "/api/v1/audit?limit=1").json["entries"][0]
    document = api.ask("GET", "/api/default/config").json["links"][link]
    assert "s3cr3t" not in json.dumps([entry, document])
    stored = b"".join(file.read_bytes() for file in (api.server.folder / "data" / "catalog").iterdir())
    assert link.encode() in stored
    assert b"s3cr3t" not in stored


def test_unknown_options_that_look_secret_are_kept_by_their_mask(own: Penstock) -> None:
    api = Api(own.start())
    _, _, link = api.linked(**HIDDEN)
    shown = api.get("link", link)
    changed = {"data": {**shown["data"], "x": 2, "deep": [{"webhook": {"apiKey": "new"}}]}}
    assert api.config("PUT", f"link/{link}", changed).status == 200
    own.kill()
    box = SecretBox.open(own.folder / "data")
    with contextlib.closing(
        Store.open(own.folder / "data", StoreOptions(free_bytes_min=0), SystemClock())
    ) as store:
        record = next(value for key, value in store.catalog.scan("objects") if key == f"link/{link}".encode())
    data = decoded(record, box).body["data"]
    assert (data["functionsEnv"], data["deep"]) == (HIDDEN["functionsEnv"], [{"webhook": {"apiKey": "new"}}])
