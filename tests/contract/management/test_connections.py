"""A destination is taken as it is, and the answer says whether it works."""

import socket
from concurrent.futures import ThreadPoolExecutor

from tests.contract.management.conftest import MINIMAL, Api
from tests.running import datasource, eventually


def test_one_that_works(api: Api, database: str) -> None:
    body = {"type": "postgres", "datasource": datasource(database)}
    assert api.config("POST", "destination/test", body).json == {"ok": True}
    assert set(api.config("POST", "destination", body).json) == {"id"}


def test_one_that_does_not_is_taken_and_said(api: Api, database: str) -> None:
    tested = api.config("POST", "destination/test", MINIMAL["destination"]).json
    assert tested["ok"] is False
    made = api.config("POST", "destination", MINIMAL["destination"]).json
    assert made["testConnectionError"] == tested["error"]
    link = api.make("link", fromId=api.make("stream"), toId=made["id"], data={"mode": "stream"})
    eventually(lambda: shown(api, link)["state"] == "backing-off", "the link waits for its next attempt")
    assert shown(api, link)["lastError"]
    mended = api.config("PUT", f"destination/{made['id']}", {"datasource": datasource(database)})
    assert mended.json == {"success": True}


def shown(api: Api, link: str) -> dict[str, object]:
    return dict(api.ask("GET", f"/api/v1/links/{link}").json)


def test_a_change_is_in_force_while_its_place_is_still_silent(api: Api) -> None:
    id_ = api.make("destination")
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as other:
        body = {"port": silent.getsockname()[1], "name": "moved"}
        answer = other.submit(api.config, "PUT", f"destination/{id_}", body)
        connection, _ = silent.accept()
        assert (api.get("destination", id_)["name"], answer.done()) == ("moved", False)
        connection.close()
        silent.close()
        assert "testConnectionError" in answer.result().json


def test_a_test_changes_nothing_and_needs_a_destination(api: Api) -> None:
    id_ = api.make("destination", password="x")
    before = api.config("GET", f"destination/{id_}")
    assert api.config("POST", "destination/test", {"id": id_, "database": "e"}).json["ok"] is False
    assert api.config("GET", f"destination/{id_}").headers["etag"] == before.headers["etag"]
    refused = api.config("POST", "destination/test", {"host": "h"})
    assert "destinationType" in {fault["path"] for fault in refused.json["errors"]}
