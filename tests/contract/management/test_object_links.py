"""Links over HTTP, and what deleting an object does to them."""

import pytest

from tests.contract.management.conftest import Api


def test_a_link_lives(api: Api) -> None:
    stream, destination = api.make("stream"), api.make("destination")
    body = {"fromId": stream, "toId": destination, "data": {"mode": "stream", "mine": 1}}
    made = api.config("POST", "link", body).json
    assert made["created"] is True
    shown = api.get("link", made["id"])
    assert (shown["type"], shown["fromId"], shown["toId"]) == ("push", stream, destination)
    assert (shown["data"]["mode"], shown["data"]["mine"], shown["data"]["frequency"]) == ("stream", 1, 5)
    assert shown in api.config("GET", "link").json["links"]
    changed = api.config("PUT", "link", {"id": made["id"], "data": {"frequency": 7}})
    assert changed.json == {"id": made["id"], "created": False}
    data = api.get("link", made["id"])["data"]
    assert (data["mode"], data["frequency"], "mine" in data) == ("batch", 7, False)


def test_a_pair_has_one_link(api: Api) -> None:
    stream, destination, link = api.linked()
    again = api.config("POST", "link", {"fromId": stream, "toId": destination})
    assert (again.status, again.json["id"]) == (409, link)
    assert "already exists" in again.json["message"]


def test_a_link_is_changed_by_its_id(api: Api) -> None:
    stream, destination, link = api.linked()
    assert api.config("PUT", "link", {"fromId": stream, "toId": destination}).status == 400
    assert api.config("PUT", "link", {"id": "none", "data": {}}).status == 404
    other = api.make("stream")
    for field, value in (("fromId", other), ("type", "sync")):
        moved = api.config("PUT", "link", {"id": link, field: value})
        assert [fault["path"] for fault in moved.json["errors"]] == [field]
    assert api.config("PUT", "link", {"id": link, "type": "push"}).status == 200


def test_strict_refuses_options_that_are_not_known(api: Api) -> None:
    stream, destination = api.make("stream"), api.make("destination")
    body = {"fromId": stream, "toId": destination, "data": {"mine": 1}}
    refused = api.config("POST", "link?strict=true", body)
    assert [fault["path"] for fault in refused.json["errors"]] == ["data.mine"]
    link = api.config("POST", "link", body).json["id"]
    assert api.config("PUT", "link?strict=true", {"id": link, "data": {"mine": 2}}).status == 400
    assert api.get("link", link)["data"]["mine"] == 1


def test_a_link_is_deleted_by_its_id_or_its_ends(api: Api) -> None:
    _, _, link = api.linked()
    assert api.config("DELETE", f"link?id={link}").json == {"deleted": True}
    assert api.config("DELETE", f"link?id={link}").json == {"deleted": False}
    stream, destination, _ = api.linked()
    ends = f"fromId={stream}&toId={destination}"
    assert api.config("DELETE", f"link?{ends}").json == {"deleted": True}
    assert api.config("DELETE", f"link?{ends}").json == {"deleted": False}
    _, _, third = api.linked()
    assert api.config("DELETE", f"link/{third}").json == {"deleted": True}


def test_a_link_that_is_made_again_is_the_one_that_it_was(api: Api) -> None:
    """Its id is whose progress it is; one that says where it begins is another one."""
    stream, destination, link = api.linked()
    ends = {"fromId": stream, "toId": destination}
    assert api.get("link", link)["data"]["startFrom"] is None
    api.config("DELETE", f"link/{link}")
    api.linked()
    assert api.make("link", **ends) == link
    api.config("DELETE", f"link/{link}")
    other = api.make("link", **ends, data={"startFrom": "now"})
    assert other != link
    api.config("DELETE", f"link/{other}")
    assert api.make("link", **ends) == other  # the last one


def test_an_id_that_is_taken_is_not_taken_up(api: Api) -> None:
    stream, destination, link = api.linked()
    api.config("DELETE", f"link/{link}")
    api.make("link", id=link, fromId=api.make("stream"), toId=destination)
    again = api.make("link", fromId=stream, toId=destination)
    assert again != link
    api.config("DELETE", f"link/{link}")
    api.config("DELETE", f"link/{again}")
    assert api.make("link", fromId=stream, toId=destination) == again


@pytest.mark.parametrize("query", ["", "?fromId=a", "?toId=b", "?id=x&fromId=a&toId=b", "?id=x&toId=b"])
def test_which_link_must_be_said(api: Api, query: str) -> None:
    assert api.config("DELETE", f"link{query}").status == 400


def synced(api: Api) -> tuple[str, str, str]:
    service, destination = api.make("service"), api.make("destination")
    data = {"streams": {"issues": {"sync_mode": "incremental"}}, "schedule": "0 * * * *"}
    return (
        service,
        destination,
        api.make("link", type="sync", fromId=service, toId=destination, data=data),
    )


def test_a_sync_is_a_link_of_a_service(api: Api) -> None:
    service, destination, link = synced(api)
    shown = api.get("link", link)
    assert (shown["type"], shown["fromId"], shown["data"]["timezone"]) == ("sync", service, "Etc/UTC")
    api.make("link", type="sync", fromId=service, toId=destination)  # of a service there may be several
    assert api.config("PUT", f"link/{link}", {"data": {"schedule": None}}).status == 200
    assert api.config("DELETE", f"link?id={link}").json == {"deleted": True}


FLAGS = ("", "?strict=true", "?cascade=true")
ENDS = {"stream": 0, "destination": 1, "service": 0}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize(
    "flags", ["", "?strict=true", "?cascade=true", "?strict=true&cascade=true", "?strict=1"]
)
def test_deleting_an_end(api: Api, kind: str, flags: str) -> None:
    made = synced(api) if kind == "service" else api.linked()
    link = made[2]
    answer = api.config("DELETE", f"{kind}/{made[ENDS[kind]]}{flags}")
    if flags == "?strict=true":
        assert (answer.status, answer.json["code"]) == (409, "LINKED_CONNECTIONS_EXIST")
        assert answer.json["linkedConnectionsCount"] == 1
        assert answer.json["linkedConnections"][0]["id"] == link
        assert api.config("GET", f"{kind}/{made[ENDS[kind]]}").status == 200
        return
    assert (answer.status, answer.json["id"]) == (200, made[ENDS[kind]])
    assert api.config("GET", f"link/{link}").status == (404 if "cascade" in flags else 200)


@pytest.mark.parametrize("flags", FLAGS)
def test_deleting_a_function_in_use(api: Api, flags: str) -> None:
    function = api.make("function")
    _, _, link = api.linked(functions=[{"functionId": f"udf.{function}"}])
    answer = api.config("DELETE", f"function/{function}{flags}")
    if flags == "?strict=true":
        assert (answer.status, answer.json["code"]) == (409, "FUNCTION_IN_USE")
        assert [use["id"] for use in answer.json["connections"]] == [link]
        return
    assert answer.status == 200
    assert api.config("GET", f"link/{link}").status == (404 if "cascade" in flags else 200)


@pytest.mark.parametrize("kind", ["stream", "destination", "service", "function"])
def test_strict_lets_go_what_nobody_uses(api: Api, kind: str) -> None:
    assert api.config("DELETE", f"{kind}/{api.make(kind)}?strict=true").status == 200


def test_a_link_that_lost_an_end_is_inert_until_it_is_back(api: Api, name: str) -> None:
    api.make("stream", id=name)
    destination = api.make("destination")
    link = api.make("link", fromId=name, toId=destination)
    api.config("DELETE", f"stream/{name}")
    assert api.ask("GET", f"/api/v1/links/{link}").status == 404
    assert api.get("link", link)["fromId"] == name
    api.make("stream", id=name)
    assert api.get("link", link)["fromId"] == name
