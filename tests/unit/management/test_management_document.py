"""All objects as one document: exported, applied, applied again."""

import asyncio
import cProfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.catalog import Destination, Stream, WriteKey
from server.clock import SystemClock
from server.management import (
    DEFAULT_WORKSPACE,
    MASK,
    Audit,
    Caller,
    Change,
    Invalid,
    Objects,
    PreconditionFailed,
    SecretBox,
    SecretError,
    apply_document,
    differences,
    export_document,
)
from server.settings import Config
from storage import Store, StoreOptions

EDITOR = Caller("key-1", "editor")
PG = {"type": "postgres", "datasource": {"host": "db", "db": "d", "username": "u", "password": "pw"}}
DOCUMENT: dict[str, Any] = {
    "streams": {"web": {"name": "Web", "server_keys": ["web:a-secret-of-some-length"]}},
    "destinations": {"pg": PG},
    "functions": {"f": {"code": "x"}},
    "links": {"web-pg": {"from": "web", "to": "pg", "data": {"mode": "stream", "frequency": 7}}},
}
FILE = Config(
    streams={"site": Stream(id="site", server_keys=(WriteKey(id="k", token="k:secret"),))},
    destinations={"old": Destination(id="old", type="postgres", embedded=True)},
)


class Bench:
    """Objects on a real store."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder, StoreOptions(free_bytes_min=0), SystemClock())
        self.in_force: list[Config] = []
        self.audit = Audit(self.store.catalog, SystemClock())
        self.objects = self.again(SecretBox.open(folder))
        self.objects.load()

    def again(self, box: SecretBox) -> Objects:
        return Objects(self.store.catalog, FILE, box, self.audit, SystemClock(), self.changed)

    async def changed(self, _before: Config, after: Config) -> None:
        self.in_force.append(after)

    async def apply(self, document: dict[str, Any], **flags: bool) -> list[Change]:
        return (await apply_document(self.objects, document, EDITOR, DEFAULT_WORKSPACE, **flags))[0]

    def export(self) -> dict[str, dict[str, Any]]:
        return export_document(self.objects, DEFAULT_WORKSPACE)

    async def fields(self, document: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What one change changes."""
        (change,) = await self.apply(document)
        return {one.path: (one.before, one.after) for one in differences(change)}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    await asyncio.to_thread(bench.store.close)


async def test_applied_once_it_is_there_and_twice_it_is_the_same(bench: Bench) -> None:
    assert len(await bench.apply(DOCUMENT)) == 4
    (config,) = bench.in_force  # one change for all of it
    assert config.links["web-pg"].data.frequency == 7
    assert config.destinations["pg"].datasource is not None
    assert config.destinations["pg"].datasource.password == "pw"
    assert await bench.apply(DOCUMENT) == []
    assert [entry.action for entry in bench.audit.read(None, 99)] == ["create"] * 4


async def test_what_is_exported_can_be_applied_and_shows_no_secret(bench: Bench) -> None:
    await bench.apply(DOCUMENT)
    document = bench.export()
    assert document["destinations"]["pg"]["datasource"]["password"] == MASK
    assert "a-secret-of-some-length" not in str(document)
    assert "secret" not in str(document["streams"]["site"])
    assert set(document["destinations"]) == {"old", "pg"}
    assert await bench.apply(document) == []
    assert await bench.apply(document, prune=True) == []
    assert bench.export() == document


async def test_no_secret_of_an_object_is_on_disk(bench: Bench, tmp_path: Path) -> None:
    source = {**PG["datasource"], "password": "a-password-of-some-length"}  # type: ignore[dict-item]
    service = {"package": "p", "version": "1", "credentials": {"inner": ["a-credential-of-some-length"]}}
    await bench.apply(
        {**DOCUMENT, "destinations": {"pg": {**PG, "datasource": source}}, "services": {"s": service}}
    )
    stored = (tmp_path / "catalog" / "data.mdb").read_bytes()
    assert b"web-pg" in stored
    assert [text for text in (b"of-some-length", b"of-some-lengt") if text in stored] == []


async def test_without_keep_nothing_changes(bench: Bench) -> None:
    assert len(await bench.apply(DOCUMENT, keep=False)) == 4
    assert bench.in_force == []
    assert set(bench.export()) == {"streams", "destinations"}
    assert bench.audit.read(None, 9) == []


async def test_every_fault_is_named_and_nothing_is_changed(bench: Bench) -> None:
    document = {
        "streams": {"web": {}, "bad": {"nme": "x"}, "bad2": {"origins": ["null"]}},
        "destinations": {"pg": {"type": "postgres"}},
        "links": {"l": {"from": "bad", "to": "pg"}},
    }
    with pytest.raises(Invalid) as caught:
        await bench.apply(document)
    paths = [fault.path for fault in caught.value.faults]
    assert [path.partition(".")[2].partition(".")[0] for path in paths] == ["bad", "bad2", "pg"]
    assert bench.in_force == []
    assert set(bench.export()["streams"]) == {"site"}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"server": {}}, "server"),
        ({"streams": []}, "streams"),
        ({"streams": {"web": None}}, "streams.web"),
        ({"links": {"l": {"from": "nowhere", "to": "old"}}}, "links.l.fromId"),
        ({"links": {"l": {"from": "site", "to": "old", "data": {"mood": 1}}}}, "links.l.data.mood"),
        ({"streams": {"site": {"name": "another"}}}, "streams.site"),
        ({"streams": {"web": {"server_keys": ["k:secret"]}}}, "streams.web.privateKeys[0]"),
    ],
)
async def test_what_cannot_be_applied(bench: Bench, document: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        await bench.apply(document)
    assert [fault.path for fault in caught.value.faults] == [path]


async def test_a_change_says_its_fields_without_secrets(bench: Bench) -> None:
    await bench.apply(DOCUMENT)
    changed = {**PG, "datasource": {**PG["datasource"], "password": "new", "port": 5433}}  # type: ignore[dict-item]
    fields = await bench.fields({"destinations": {"pg": changed}})
    assert fields == {"datasource.port": (5432, 5433), "datasource.password": (MASK, MASK)}


async def test_what_the_document_leaves_out_of_an_object_is_its_default(bench: Bench) -> None:
    await bench.apply(DOCUMENT)
    fields = await bench.fields({"links": {"web-pg": {"from": "web", "to": "pg"}}})
    assert fields == {"data.mode": ("stream", "batch"), "data.frequency": (7, 5)}
    assert set(await bench.fields({"streams": {"web": {}}})) == {"name", "server_keys"}


async def test_prune_deletes_what_is_not_named_and_can_be(bench: Bench) -> None:
    await bench.apply(DOCUMENT)
    gone = await bench.apply({"streams": DOCUMENT["streams"]}, prune=True)
    assert [before.id for before, after in gone if before and after is None] == ["web-pg", "f", "pg"]
    assert set(bench.export()["streams"]) == {"site", "web"}
    assert set(bench.export()["destinations"]) == {"old"}


async def test_a_store_of_objects_wants_its_own_key_file(bench: Bench, tmp_path: Path) -> None:
    await bench.apply({"streams": {"web": {"server_keys": ["web:a-key"]}}})
    bench.again(SecretBox.open(tmp_path)).load()
    with pytest.raises(SecretError, match=r"put back the secret\.key"):
        bench.again(SecretBox(bytes(32))).load()


async def test_a_link_may_move_to_another_id_in_one_change(bench: Bench) -> None:
    await bench.apply(DOCUMENT)
    document = {**DOCUMENT, "links": {"renamed": DOCUMENT["links"]["web-pg"]}}
    assert len(await bench.apply(document, prune=True)) == 2
    assert set(bench.in_force[-1].links) == {"renamed"}


async def test_a_document_is_applied_to_what_it_was_compared_with(bench: Bench) -> None:
    _, etag = await apply_document(bench.objects, DOCUMENT, EDITOR, DEFAULT_WORKSPACE, keep=False)
    assert etag == bench.objects.etag(DEFAULT_WORKSPACE)
    await bench.objects.create("function", {"id": "meanwhile", "code": "x"}, EDITOR)
    with pytest.raises(PreconditionFailed) as caught:
        await apply_document(bench.objects, DOCUMENT, EDITOR, DEFAULT_WORKSPACE, if_match=etag)
    assert caught.value.etag == bench.objects.etag(DEFAULT_WORKSPACE) != etag
    assert set(bench.export()["streams"]) == {"site"}
    await apply_document(bench.objects, DOCUMENT, EDITOR, DEFAULT_WORKSPACE, if_match=caught.value.etag)
    assert bench.objects.etag("another") != etag


def many(count: int) -> dict[str, Any]:
    streams = {f"s{n}": {"server_keys": [f"k{n}:a-secret"]} for n in range(count)}
    links = {f"l{n}": {"from": f"s{n}", "to": "pg"} for n in range(count)}
    return {"streams": streams, "destinations": {"pg": PG}, "links": links}


async def calls_of(bench: Bench, document: dict[str, Any], **flags: bool) -> int:
    with cProfile.Profile() as profile:
        await bench.apply(document, **flags)
    return sum(entry.callcount for entry in profile.getstats())


async def test_the_cost_of_a_document_grows_with_its_length(bench: Bench) -> None:
    async def costs(count: int) -> list[int]:
        made, same = [await calls_of(bench, many(count)) for _ in range(2)]
        return [made, same, await calls_of(bench, {}, prune=True)]

    few, lots = await costs(40), await costs(160)
    assert [more < 6 * less for less, more in zip(few, lots, strict=True)] == [True] * 3, (few, lots)


async def test_two_streams_may_swap_their_keys_in_one_change(bench: Bench) -> None:
    keys = ["a:one-secret", "b:another-secret"]
    for order in (keys, keys[::-1]):
        await bench.apply(
            {"streams": {name: {"server_keys": [key]} for name, key in zip("xy", order, strict=True)}}
        )
    assert [key["id"] for key in bench.export()["streams"]["x"]["server_keys"]] == ["b"]
