"""Objects change by the management API under load: in force with the answer, and there after any kill."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.embedded import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.contract.management.conftest import Api
from tests.faults.server.conftest import StartFunction
from tests.running import (
    BROWSER_KEY,
    ORIGIN,
    SERVER_KEY,
    Sender,
    datasource,
    delivered,
    endless,
    eventually,
    rows,
    track,
)

_OPTIONS = {"mode": "stream", "deduplicate": False, "primaryKey": ""}
_QUIET_S = 1.0
_ROUND = 40


@pytest.fixture
def api(make_server: StartFunction) -> Api:
    """Of a server whose objects all come by the API."""
    server = make_server(None)
    server.conf["streams"] = {}
    return Api(server.start())


def make_site(api: Api, **fields: object) -> None:
    api.make("stream", id="site", privateKeys=[SERVER_KEY], publicKeys=[BROWSER_KEY], **fields)


def place(url: str) -> dict[str, object]:
    """The fields of a destination."""
    fields = datasource(url)
    return {"database": fields.pop("db"), **fields}


def make_link(api: Api, url: str, **data: object) -> None:
    api.make("destination", id="warehouse", **place(url))
    api.make("link", id="site-warehouse", fromId="site", toId="warehouse", data={**_OPTIONS, **data})


def change(api: Api, path: str, **fields: object) -> None:
    answer = api.config("PUT", path, fields)
    assert answer.status == 200, answer.body


def taken(api: Api, message_id: str, key: str = SERVER_KEY, **headers: str) -> int:
    return api.server.post("/v1/track", track(message_id), key, **headers).status


def test_a_change_of_a_stream_is_in_force_with_its_answer(api: Api) -> None:
    assert taken(api, "a") == 401
    make_site(api, authorizedJavaScriptDomains=[ORIGIN])
    assert [taken(api, "b"), taken(api, "c", BROWSER_KEY, Origin=ORIGIN)] == [200, 200]
    change(api, "stream/site", authorizedJavaScriptDomains=["https://b.example.com"])
    assert taken(api, "d", BROWSER_KEY, Origin=ORIGIN) == 403
    preflight = api.server.request("OPTIONS", "/v1/track", headers={"Origin": "https://b.example.com"})
    assert preflight.status == 204
    change(api, "stream/site", privateKeys=["another:secret"])
    assert [taken(api, "e"), taken(api, "f", "another:secret")] == [401, 200]
    api.config("DELETE", "stream/site")
    assert taken(api, "g", "another:secret") == 401


def test_a_change_of_one_stream_refills_no_limit(api: Api) -> None:
    make_site(api, rateLimit={"events_per_second": 0.001, "burst": 1})
    assert [taken(api, "a", BROWSER_KEY), taken(api, "b", BROWSER_KEY)] == [200, 429]
    change(api, "stream/site", name="renamed")
    api.make("stream", id="other")
    assert taken(api, "c", BROWSER_KEY) == 429
    change(api, "stream/site", rateLimit={"events_per_second": 0.001, "burst": 2})
    assert taken(api, "d", BROWSER_KEY) == 200


def test_kill_9_after_each_kind_of_change(api: Api, database: str) -> None:
    server = api.server
    steps: list[Callable[[], Any]] = [
        lambda: make_site(api),
        lambda: taken(api, "a"),
        lambda: make_link(api, database, startFrom="now"),
        lambda: taken(api, "b"),
        server.drained,
        lambda: change(api, "link/site-warehouse", data={**_OPTIONS, "tableName": "others"}),
        lambda: taken(api, "c"),
        lambda: change(api, "destination/warehouse", parameters={"application_name": "changed"}),
        lambda: taken(api, "d"),
    ]
    for step in steps:
        assert step() in (None, 200)
        server.kill()
        server.start()
    server.drained()
    assert delivered(database) == ["b"]
    assert [row["message_id"] for row in rows(database, "SELECT * FROM others ORDER BY 1")] == ["c", "d"]
    api.config("DELETE", "link/site-warehouse")
    api.config("DELETE", "destination/warehouse")
    server.kill()
    server.start()
    assert (server.admin("/api/v1/links").json["links"], taken(api, "e")) == ([], 200)
    assert server.stop() == 0


def test_a_link_that_is_made_again_goes_on_where_it_was(api: Api, database: str) -> None:
    make_site(api)
    make_link(api, database, startFrom="now")
    assert taken(api, "a") == 200
    api.server.drained()
    api.config("DELETE", "link/site-warehouse")
    assert taken(api, "b") == 200
    api.server.kill()
    api.server.start()
    api.make("link", fromId="site", toId="warehouse", data=_OPTIONS)
    api.server.drained()
    assert delivered(database) == ["a", "b"]


def test_a_destination_that_moves_and_moves_back(api: Api, database: str, postgres_url: str) -> None:
    make_site(api)
    make_link(api, database)
    with fresh_database(postgres_url) as other:
        for n, url in enumerate((database, other, database, other)):
            change(api, "destination/warehouse", **place(url))
            assert taken(api, f"m{n}") == 200
            api.server.drained()
        assert (delivered(database), delivered(other)) == (["m0", "m2"], ["m1", "m3"])


def test_a_wrong_destination_is_shown_and_holds_back_nobody(api: Api, database: str) -> None:
    make_site(api)
    make_link(api, database)
    api.make("destination", id="wrong", **{**place(database), "password": "x", "port": 9})
    api.make("link", id="site-wrong", fromId="site", toId="wrong", data=_OPTIONS)
    assert taken(api, "a") == 200
    eventually(lambda: delivered(database) == ["a"], "the other link delivers")
    eventually(lambda: "Connection refused" in last_error(api, "site-wrong"), "the wrong one says why")
    change(api, "destination/wrong", **place(database))
    api.server.drained()
    assert delivered(database) == ["a", "a"]


def last_error(api: Api, link_id: str) -> str:
    links = {link["id"]: link for link in api.server.admin("/api/v1/links").json["links"]}
    return links[link_id]["lastError"] or ""


def test_the_embedded_postgres_starts_when_it_is_first_needed(api: Api, tmp_path: Path) -> None:
    make_site(api)
    assert not (tmp_path / "data" / "postgres").exists()
    assert (
        api.config("POST", "destination", {"id": "here", "type": "postgres", "embedded": True}).status == 200
    )
    api.make("link", id="site-here", fromId="site", toId="here", data={**_OPTIONS, "startFrom": "now"})
    assert taken(api, "a") == 200
    api.server.drained()
    address = EmbeddedPostgres(tmp_path / "data").running()
    assert address is not None
    assert delivered(address.url) == ["a"]
    assert api.server.stop() == 0


class _Probe:
    """Single events on a connection of their own, one after the other; how long each took, in seconds."""

    def __init__(self, port: int) -> None:
        self.sender = Sender(port, workers=1, batch=1)
        self.taken_s: list[float] = []

    async def run(self, prefix: str, done: Callable[[], bool]) -> None:
        await self.sender.send(self._timed(prefix, done))

    def _timed(self, prefix: str, done: Callable[[], bool]) -> Iterator[str]:
        for number in itertools.count():
            if done():
                return
            began_s = time.perf_counter()
            yield f"{prefix}{number}"
            self.taken_s.append(time.perf_counter() - began_s)

    @property
    def p99_s(self) -> float:
        return sorted(self.taken_s)[int(len(self.taken_s) * 0.99)]


def _changes(api: Api, url: str, first: int) -> None:
    """Changes of every kind: of the very objects that are in use, and of others."""
    for number in range(first, first + _ROUND, 8):
        origins = [f"https://n{number}.example.com"]
        change(api, "stream/site", name=f"n{number}", authorizedJavaScriptDomains=origins)
        change(api, "link/site-warehouse", data={**_OPTIONS, "batchSize": 1_000 + number})
        api.make("stream", id=f"s{number}")
        api.make("destination", id=f"d{number}", **place(url))
        api.make("link", id=f"l{number}", fromId=f"s{number}", toId=f"d{number}", data=_OPTIONS)
        parameters = {"application_name": f"n{number}", "sslmode": "disable"}
        change(api, "destination/warehouse", parameters=parameters)
        assert api.config("DELETE", f"stream/s{number}?cascade=true").status == 200
        assert api.config("DELETE", f"destination/d{number}").status == 200


@pytest.mark.parametrize("count", [_ROUND, pytest.param(1_000, marks=pytest.mark.long)])
async def test_ingest_at_full_speed_during_changes(api: Api, database: str, count: int) -> None:
    """Rounds of quiet and of changes take turns, so that what else the machine does weighs on both alike."""
    await asyncio.to_thread(make_site, api)
    await asyncio.to_thread(make_link, api, database)
    load = Sender(api.server.port, workers=4, batch=20)
    quiet, busy = _Probe(api.server.port), _Probe(api.server.port)
    sending = asyncio.create_task(load.send(endless("load")))
    for first in range(0, count, _ROUND):
        ends_s = time.monotonic() + _QUIET_S
        await quiet.run(f"quiet{first}-", lambda ends_s=ends_s: time.monotonic() > ends_s)
        changing = asyncio.create_task(asyncio.to_thread(_changes, api, database, first))
        await busy.run(f"busy{first}-", changing.done)
        await changing
    load.finish()
    await sending
    await asyncio.to_thread(api.server.drained, 120)
    acknowledged = [*load.acknowledged, *quiet.sender.acknowledged, *busy.sender.acknowledged]
    assert sorted(await asyncio.to_thread(delivered, database)) == sorted(acknowledged)
    assert set(load.statuses) == {200}
    if count > _ROUND:
        assert busy.p99_s < 2 * quiet.p99_s
    assert await asyncio.to_thread(api.server.stop) == 0


async def test_kill_9_under_load_while_a_link_changes(api: Api, database: str) -> None:
    server = api.server
    await asyncio.to_thread(make_site, api)
    await asyncio.to_thread(make_link, api, database)
    load = Sender(server.port, workers=4, batch=20)
    sending = asyncio.create_task(load.send(endless("kill")))
    for kill in range(4):
        changing = asyncio.create_task(asyncio.to_thread(_until_cut, api, database, kill))
        least = len(load.acknowledged) + 500 * (kill + 1)
        what = "more is acknowledged while the link changes"
        await asyncio.to_thread(eventually, lambda least=least: len(load.acknowledged) >= least, what)
        await asyncio.to_thread(server.kill)
        await changing
        await asyncio.to_thread(server.start)
    load.finish()
    await sending
    await asyncio.to_thread(server.drained)
    assert sorted(await asyncio.to_thread(delivered, database)) == sorted(load.acknowledged)
    assert await asyncio.to_thread(server.stop) == 0


def _until_cut(api: Api, url: str, turn: int) -> None:
    """Change the link and its destination in turn, until the server is gone."""
    with contextlib.suppress(OSError):
        for number in itertools.count():
            change(api, "link/site-warehouse", data={**_OPTIONS, "batchSize": 100 + number})
            parameters = {"application_name": f"n{turn}-{number}", "sslmode": "disable"}
            change(api, "destination/warehouse", parameters=parameters)
