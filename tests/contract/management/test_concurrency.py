"""Two writers never lose an update, and what was answered outlives the process."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.management.conftest import Api
from tests.running import Penstock, configuration, eventually, free_port


def test_an_old_etag_is_refused(api: Api) -> None:
    id_ = api.make("stream")
    first = api.config("GET", f"stream/{id_}").headers["etag"]
    changed = api.config("PUT", f"stream/{id_}", {"name": "a"}, If_Match=first)
    assert (changed.status, changed.headers["etag"] != first) == (200, True)
    refused = api.config("PUT", f"stream/{id_}", {"name": "b"}, If_Match=first)
    assert (refused.status, refused.headers["etag"]) == (412, changed.headers["etag"])
    assert api.config("DELETE", f"stream/{id_}", If_Match=first).status == 412
    assert api.get("stream", id_)["name"] == "a"
    assert api.config("DELETE", f"stream/{id_}", If_Match="*").status == 200


def test_an_object_made_again_has_another_etag(api: Api, name: str) -> None:
    tags = []
    for _ in range(2):
        api.make("function", id=name)
        tags.append(api.config("GET", f"function/{name}").headers["etag"])
        api.config("DELETE", f"function/{name}")
    assert tags[0] != tags[1]


def test_writers_that_read_before_they_write_lose_nothing(api: Api) -> None:
    id_ = api.make("function", description="0")

    def add_one(_: int) -> None:
        while True:
            read = api.config("GET", f"function/{id_}")
            more = {"description": str(int(read.json["description"]) + 1)}
            if api.config("PUT", f"function/{id_}", more, If_Match=read.headers["etag"]).status == 200:
                return

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(add_one, range(40)))
    assert api.get("function", id_)["description"] == "40"


def test_changes_of_different_fields_all_stay(api: Api) -> None:
    id_ = api.make("destination")
    with ThreadPoolExecutor(4) as writers:
        changes = [{"parameters": {f"p{number}": "x"}} for number in range(40)]
        answers = list(writers.map(lambda body: api.config("PUT", f"destination/{id_}", body), changes))
    assert {answer.status for answer in answers} == {200}
    assert len(api.get("destination", id_)["parameters"]) == 40


@pytest.fixture
def own(tmp_path) -> Penstock:
    return Penstock(tmp_path, configuration(free_port(), tmp_path / "data", None))


def test_what_was_answered_is_there_after_a_kill(own: Penstock) -> None:
    api = Api(own.start())
    ids = [api.make("destination", password=f"pa55-{number}") for number in range(20)]
    stream = api.make("stream", privateKeys=[{"id": "k", "plaintext": "of-the-key"}])
    link = api.make("link", fromId=stream, toId=ids[0])
    before = [api.get("destination", id_) for id_ in ids], api.get("link", link)
    own.kill()
    api = Api(own.start())
    assert ([api.get("destination", id_) for id_ in ids], api.get("link", link)) == before
    files = b"".join(file.read_bytes() for file in (own.folder / "data" / "catalog").iterdir())
    assert b"pa55-" not in files
    assert b"of-the-key" not in files
    assert own.stop() == 0


def test_an_id_in_the_file_and_in_the_store_stops_the_start(own: Penstock, name: str) -> None:
    Api(own.start()).make("stream", id=name)
    assert own.stop() == 0
    own.conf["streams"][name] = {}
    own.spawn()
    assert own.ended_within(20)
    assert f"streams.{name}: is in the configuration file" in own.log
    assert "Traceback" not in own.log


def test_an_object_that_leaves_the_file_leaves_its_links_inert(own: Penstock) -> None:
    api = Api(own.start())
    link = api.make("link", fromId="site", toId=api.make("destination"))
    assert own.stop() == 0
    site = own.conf["streams"].pop("site")
    api = Api(own.start())
    assert api.config("GET", "stream/site").status == 404
    assert api.get("link", link)["fromId"] == "site"
    assert api.ask("GET", "/api/v1/links").json["links"] == []
    assert own.stop() == 0
    own.conf["streams"]["site"] = site
    api = Api(own.start())
    eventually(lambda: api.ask("GET", f"/api/v1/links/{link}").status == 200, "the link is there")
    own.kill()
