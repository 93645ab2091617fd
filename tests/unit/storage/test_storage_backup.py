"""Backups of an open store, and stores made of them: whole or not at all."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import (
    Manifest,
    Put,
    Restored,
    Store,
    StoreDamaged,
    StoredEvent,
    StoreFailed,
    StoreLocked,
    StoreTooNew,
    Transfer,
    restore,
)
from storage.disk import Space
from storage.environment import Environment
from storage.lock import DirectoryLock
from storage.transfer import Digest
from tests.unit.storage.workbench import SMALL, fill, holes, items, opened, put, segment_files

EAGER = {"segment_bytes": SMALL, "retention_s": 0, "trim_lag_s": 0}


class Interrupted(Transfer):
    """Does something on its thread once an environment was copied: catalog, scratch, open segment."""

    def __init__(self, after: str, then: Callable[[], object]) -> None:
        super().__init__()
        self._after = after
        self._then = then

    def copy_environment(self, source: Environment, target: Path, space: Space) -> Digest:
        digest = super().copy_environment(source, target, space)
        if target.parent.name == self._after:
            self._then()
        return digest


async def back_up(store: Store, target: Path, transfer: Transfer | None = None) -> Manifest:
    """In a thread, as the server does."""
    return await asyncio.to_thread(store.back_up, target, transfer or Transfer())


async def restored_items(backup: Path, target: Path) -> list[bytes]:
    """The events of a store made of a backup."""
    restore(backup, target, Transfer())
    async with opened(target, segment_bytes=SMALL) as store:
        return items(store)


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """A backup of a store with three segments of its own."""
    async with opened(tmp_path / "data", segment_bytes=SMALL) as store:
        await fill(store, 3)
        await back_up(store, tmp_path / "backup")
    return tmp_path / "backup"


async def test_a_store_comes_back_with_all_it_had(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", segment_bytes=SMALL) as store:
        next_id = await fill(store, 3)
        await store.catalog.write([Put("t", b"k", b"v")])
        await store.scratch.write([Put("p", b"k", b"w")])
        sent, head, before = items(store), store.wal.head("site"), store.store_id
        manifest = await back_up(store, tmp_path / "backup")
    made = restore(tmp_path / "backup", tmp_path / "back", Transfer())
    assert manifest == made.manifest
    async with opened(tmp_path / "back", segment_bytes=SMALL) as store:
        assert (items(store), holes(store)) == (sent, [])
        assert store.catalog.get("t", b"k") == b"v"
        assert store.scratch.get("p", b"k") == b"w"
        assert store.store_id == made.store_id != before
        assert [(former.store_id, former.heads) for former in store.former] == [(before, {"site": head})]
        assert (await put(store, [b"again"], [next_id - 1])).duplicates == 1
        assert (await put(store, [b"new"], [next_id])).accepted == 1
        assert store.wal.head("site") > head


async def test_sealed_segments_are_linked_and_the_open_one_is_copied(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", segment_bytes=SMALL) as store:
        await fill(store, 3)
        manifest = await back_up(store, tmp_path / "backup")
    how = [file.how for file in manifest.files if file.name.endswith(".lmdb")]
    assert how == ["linked", "linked", "copied"]
    links = [path.stat().st_nlink for path in segment_files(tmp_path / "backup" / "store")]
    assert links == [2, 2, 1]


def _same_disk(one: Path, other: Path) -> bool:
    return not os.access(one, os.W_OK) or one.stat().st_dev == other.stat().st_dev


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_where_no_link_can_go_everything_is_copied(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"penstock-test-{os.getpid()}-{tmp_path.name}"
    if _same_disk(elsewhere.parent, tmp_path):
        pytest.skip("there is no second file system to write to")
    async with opened(tmp_path / "data", segment_bytes=SMALL) as store:
        await fill(store, 3)
        sent = items(store)
        try:
            manifest = await back_up(store, elsewhere)
            assert {file.how for file in manifest.files} == {"copied"}
            assert await restored_items(elsewhere, tmp_path / "back") == sent
        finally:
            for path in sorted(elsewhere.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            elsewhere.rmdir()


async def test_nothing_is_trimmed_between_the_catalog_and_the_log(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", **EAGER) as store:
        await fill(store, 4)
        sent, passed = items(store), {"site": store.wal.head("site")}
        trimmed = []
        transfer = Interrupted("catalog", lambda: trimmed.append(store.wal.trim(passed).segments))
        await back_up(store, tmp_path / "backup", transfer)
        assert trimmed == [0]
        assert store.wal.trim(passed).segments == 3, "and afterwards it goes on"
    assert await restored_items(tmp_path / "backup", tmp_path / "back") == sent


async def test_what_was_taken_may_be_trimmed_before_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", **EAGER) as store:
        await fill(store, 4)
        sent, passed = items(store), {"site": store.wal.head("site")}
        trimmed = []
        transfer = Interrupted("wal", lambda: trimmed.append(store.wal.trim(passed).segments))
        await back_up(store, tmp_path / "backup", transfer)
        assert trimmed == [3]
    assert await restored_items(tmp_path / "backup", tmp_path / "back") == sent


async def test_the_log_rotates_while_it_is_copied(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with opened(tmp_path / "data", segment_bytes=SMALL) as store:
        next_id = await fill(store, 2)

        def rotate() -> None:
            asyncio.run_coroutine_threadsafe(fill(store, 4, first_id=next_id), loop).result(30)

        await back_up(store, tmp_path / "backup", Interrupted("scratch", rotate))
        sent = items(store)
    assert await restored_items(tmp_path / "backup", tmp_path / "back") == sent


async def test_the_heads_are_those_of_the_copy_to_the_event(tmp_path: Path) -> None:
    """Commits go on while the open segment is copied."""
    async with opened(tmp_path / "data") as store:
        ending = asyncio.Event()

        async def keep_writing() -> None:
            number = 0
            while not ending.is_set():
                number += 1
                await put(store, [b"x" * 500], [number])

        writing = asyncio.create_task(keep_writing())
        for turn in range(5):
            manifest = await back_up(store, tmp_path / f"backup{turn}")
            restore(tmp_path / f"backup{turn}", tmp_path / f"back{turn}", Transfer())
            async with opened(tmp_path / f"back{turn}") as back:
                assert manifest.heads == back.former[0].heads == {"site": back.wal.head("site")}
        ending.set()
        await writing


async def test_a_restored_store_is_backed_up_and_restored(tmp_path: Path, backup: Path) -> None:
    first = restore(backup, tmp_path / "second", Transfer())
    async with opened(tmp_path / "second", segment_bytes=SMALL) as store:
        await put(store, [b"more"], [1_000])
        await back_up(store, tmp_path / "backup2")
    sent = await restored_items(tmp_path / "backup2", tmp_path / "third")
    assert sent[-1] == b"more"
    async with opened(tmp_path / "third") as store:
        assert [former.store_id for former in store.former] == [
            first.store_id,
            first.manifest.identity.store_id,
        ]


async def test_a_segment_that_vanished_is_named_and_stays_a_hole(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", segment_bytes=SMALL) as store:
        await fill(store, 4)
        segment_files(tmp_path / "data")[1].unlink()
        manifest = await back_up(store, tmp_path / "backup")
    assert manifest.missing == (2,)
    restore(tmp_path / "backup", tmp_path / "back", Transfer())
    async with opened(tmp_path / "back") as store:
        assert [reason for _, _, reason in holes(store)] == ["segment 2: the file is missing"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("data", "in the data directory"),
        ("data/inside/deep", "in the data directory"),
        ("full", "not empty"),
        ("full/file", "not empty"),
        ("/dev", "mounted there"),
    ],
)
async def test_a_target_that_no_backup_can_become(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    async with opened(tmp_path / "data") as store:
        with pytest.raises(StoreFailed, match=words):
            await back_up(store, tmp_path / place)
    assert names(tmp_path) == ["data", "full"]


async def test_an_empty_folder_becomes_the_backup(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    async with opened(tmp_path / "data") as store:
        await put(store, [b"one"], [1])
        await back_up(store, tmp_path / "backup")
    assert names(tmp_path / "backup") == ["manifest.json", "store"]
    assert await restored_items(tmp_path / "backup", tmp_path / "back") == [b"one"]


async def test_a_stopped_backup_leaves_no_trace(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        with pytest.raises(StoreFailed, match="it was stopped"):
            await back_up(store, tmp_path / "backup", _stopped())
        assert names(tmp_path) == ["data"]
        await back_up(store, tmp_path / "backup")


def _stopped() -> Transfer:
    transfer = Transfer()
    transfer.stop()
    return transfer


async def test_what_a_killed_backup_left_is_taken_away(tmp_path: Path) -> None:
    left = tmp_path / "backup.partial"
    (left / "store" / "wal").mkdir(parents=True)
    (left / "store" / "wal" / "0000000001.lmdb").write_bytes(b"half")
    (left / "lock").write_text("1\n")
    async with opened(tmp_path / "data") as store:
        await put(store, [b"one"], [1])
        with pytest.raises(StoreDamaged, match="it has no manifest"):
            restore(left, tmp_path / "back", Transfer())
        await back_up(store, tmp_path / "backup")
    assert not left.exists()
    assert await restored_items(tmp_path / "backup", tmp_path / "back") == [b"one"]


async def test_the_partial_folder_of_another_is_left_alone(tmp_path: Path) -> None:
    left = tmp_path / "backup.partial"
    left.mkdir()
    async with opened(tmp_path / "data") as store:
        lock = DirectoryLock(left / "lock")
        with pytest.raises(StoreLocked):
            await back_up(store, tmp_path / "backup")
        lock.release()
        (left / "lock").unlink()
        (left / "mine").touch()
        with pytest.raises(StoreFailed, match="in the way"):
            await back_up(store, tmp_path / "backup")
    assert (left / "mine").exists()


async def test_one_backup_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as store:
        met: list[BaseException] = []

        def second() -> None:
            with pytest.raises(StoreFailed, match="another backup") as raised:
                store.back_up(tmp_path / "second", Transfer())
            met.append(raised.value)

        await back_up(store, tmp_path / "backup", Interrupted("catalog", second))
        assert len(met) == 1


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("name", ["wal/0000000001.lmdb", "wal/0000000003.ids", "catalog/data.mdb"])
@pytest.mark.parametrize(
    ("harm", "words"),
    [(_flip, "is damaged"), (_truncate, "bytes instead of"), (Path.unlink, "is missing")],
    ids=["damaged", "truncated", "missing"],
)
def test_a_file_that_is_not_what_was_written_is_named(
    tmp_path: Path, backup: Path, name: str, harm: Callable[[Path], None], words: str
) -> None:
    harm(backup / "store" / name)
    harm(backup / "store" / "scratch" / "data.mdb")
    with pytest.raises(StoreDamaged, match=f"{name}.*{words}") as raised:
        restore(backup, tmp_path / "back", Transfer())
    assert "scratch/data.mdb" in str(raised.value)
    assert not (tmp_path / "back").exists()


def _change(backup: Path, **fields: object) -> None:
    path = backup / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("field", ["manifest", "store_format"])
def test_a_newer_format_is_refused(tmp_path: Path, backup: Path, field: str) -> None:
    _change(backup, **{field: 2})
    with pytest.raises(StoreTooNew, match="newer release"):
        restore(backup, tmp_path / "back", Transfer())


@pytest.mark.parametrize(
    "fields", [{"heads": {"site": 7}}, {"files": []}, {"identity": 1}, {"manifest": "x"}]
)
def test_a_manifest_that_was_changed_is_refused(
    tmp_path: Path, backup: Path, fields: dict[str, object]
) -> None:
    _change(backup, **fields)
    with pytest.raises(StoreDamaged, match=r"manifest\.json"):
        restore(backup, tmp_path / "back", Transfer())
    _truncate(backup / "manifest.json")
    with pytest.raises(StoreDamaged, match=r"manifest\.json"):
        restore(backup, tmp_path / "back", Transfer())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, backup: Path) -> None:
    with pytest.raises(StoreFailed, match=r"not empty \(catalog, scratch, store.json, wal\)"):
        restore(backup, tmp_path / "data", Transfer(), beside={"quarantine"})
    target = tmp_path / "back"
    target.mkdir()
    (target / "penstock.yaml").write_text("mine")
    with pytest.raises(StoreFailed, match=r"not empty \(penstock.yaml\)"):
        restore(backup, target, Transfer())
    restore(backup, target, Transfer(), beside={"penstock.yaml"})
    assert (target / "penstock.yaml").read_text() == "mine"


def test_a_folder_that_a_process_has_open_is_refused(tmp_path: Path, backup: Path) -> None:
    (tmp_path / "back").mkdir()
    lock = DirectoryLock(tmp_path / "back" / "lock")
    with pytest.raises(StoreLocked):
        restore(backup, tmp_path / "back", Transfer())
    lock.release()


async def test_a_restore_that_was_cut_off_is_no_store_and_can_be_repeated(
    tmp_path: Path, backup: Path
) -> None:
    target = tmp_path / "back"
    made: Restored = restore(backup, target, Transfer())
    (target / "restoring").touch()
    (target / "wal" / "0000000001.lmdb").write_bytes(b"half")
    with pytest.raises(StoreDamaged, match="cut off"):
        async with opened(target):
            pass
    assert restore(backup, target, Transfer()).store_id != made.store_id
    async with opened(target) as store:
        newest: list[StoredEvent] = store.wal.tail("site", 1)
    assert len(newest) == 1


def test_a_stopped_restore_leaves_no_trace(tmp_path: Path, backup: Path) -> None:
    with pytest.raises(StoreFailed, match="stopped"):
        restore(backup, tmp_path / "back", _stopped())
    assert not (tmp_path / "back").exists()
