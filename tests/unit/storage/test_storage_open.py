"""Opening: lock, identity, offsets, crashes, missing and damaged segments."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage import Store, StoreLocked, StoreOptions, StoreTooNew
from tests.unit.storage.workbench import (
    SMALL,
    ManualClock,
    crash_copy,
    damage,
    fill,
    holes,
    items,
    opened,
    put,
    segment_files,
)


def test_a_second_open_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from storage import *; from server.clock import SystemClock\n"
        "try: Store.open(Path(sys.argv[1]), StoreOptions(), SystemClock())\n"
        "except StoreLocked as error: sys.exit(str(error))"
    )
    store = Store.open(tmp_path, StoreOptions(), ManualClock())
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    with pytest.raises(StoreLocked):
        Store.open(tmp_path, StoreOptions(), ManualClock())
    store.close()
    assert done.returncode == 1
    assert f"process {os.getpid()} has it open" in done.stderr


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    identity = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(identity | {"format": 99}))
    with pytest.raises(StoreTooNew, match="99"):
        async with opened(tmp_path):
            pass


async def test_events_ids_and_heads_outlive_a_close(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one", b"two"], [1, 2])
        head, store_id = store.wal.head("site"), store.store_id
    async with opened(tmp_path) as store:
        assert (items(store), store.wal.head("site"), store.store_id) == ([b"one", b"two"], head, store_id)
        assert (await put(store, [b"two", b"three"], [2, 3])).duplicates == 1
        assert items(store) == [b"one", b"two", b"three"]
        assert not store.wal.stats().unclean_open


async def test_events_ids_and_heads_outlive_a_crash(tmp_path: Path) -> None:
    async with opened(tmp_path / "a", segment_bytes=SMALL) as store:
        ids = await fill(store, 3)
        sent, head = items(store), store.wal.head("site")
        crash_copy(tmp_path / "a", tmp_path / "b")
    async with opened(tmp_path / "b", segment_bytes=SMALL) as store:
        assert store.wal.stats().unclean_open
        assert (items(store), store.wal.head("site"), holes(store)) == (sent, head, [])
        assert (await put(store, [b"again"] * (ids - 1), range(1, ids))).accepted == 0


async def test_idle_restarts_leave_no_segments_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one"], [1])
    for _ in range(3):
        async with opened(tmp_path) as store:
            assert items(store) == [b"one"]
    assert len(segment_files(tmp_path)) == 2


async def test_offsets_are_not_issued_again_after_an_old_copy_is_put_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "a", clock) as store:
        await put(store, [b"old"], [1])
    crash_copy(tmp_path / "a", tmp_path / "copy")
    clock.advance(60)
    async with opened(tmp_path / "a", clock) as store:
        await put(store, [b"lost", b"lost too"], [2, 3])
        await put(store, [b"lost"], [4], "new stream")
        lost = store.wal.head("site"), store.wal.head("new stream")
    clock.advance(60)
    async with opened(tmp_path / "copy", clock) as store:
        for number, stream, last in zip((5, 6), ("site", "new stream"), lost, strict=True):
            await put(store, [b"new"], [number], stream)
            assert store.wal.head(stream) > last


async def test_offsets_grow_even_if_the_wall_clock_goes_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        await put(store, [b"one"], [1])
        before = store.wal.read("site", 0, 100, 10).groups[0]
    clock.advance(-86_400)
    async with opened(tmp_path, clock) as store:
        await put(store, [b"two"], [2])
        after = store.wal.read("site", before.first_offset, 100, 10).groups[0]
    assert after.first_offset > before.first_offset
    assert after.committed_ms >= before.committed_ms


async def test_a_missing_middle_is_reported_as_a_hole(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        await fill(store, 4)
        sent = items(store)
    segment_files(tmp_path)[1].unlink()
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        (first, last, reason), *others = holes(store)
        assert "segment 2: the file is missing" in reason
        assert not others
        assert len(items(store)) + last - first + 1 == len(sent)
        assert store.wal.stats().missing_segments == ("2: the file is missing",)


@pytest.mark.parametrize("keep_bytes", [0, 100, 50_000])
async def test_a_truncated_newest_segment_is_quarantined(tmp_path: Path, keep_bytes: int) -> None:
    async with opened(tmp_path / "a", segment_bytes=SMALL) as store:
        ids = await fill(store, 2)
        await put(store, [b"last" * 9_000], [ids])
        sent, head = items(store), store.wal.head("site")
        crash_copy(tmp_path / "a", tmp_path / "b")
    newest = segment_files(tmp_path / "b")[-1]
    newest.write_bytes(newest.read_bytes()[:keep_bytes])
    clock = ManualClock()
    clock.advance(60)
    async with opened(tmp_path / "b", clock, segment_bytes=SMALL) as store:
        assert sent[: len(items(store))] == items(store)
        assert [path.name for path in (tmp_path / "b" / "quarantine").iterdir()] == [newest.name]
        ((first, last, reason),) = holes(store)
        assert first <= head <= last
        assert "quarantined" in reason
        assert (await put(store, [b"last"], [ids])).accepted == 1, (
            "its events are lost, so they may come again"
        )


async def test_an_older_garbled_segment_is_quarantined_when_it_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        await fill(store, 4)
        sent = items(store)
    segment = segment_files(tmp_path)[1]
    segment.write_bytes(b"\xff" * segment.stat().st_size)
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        assert store.wal.stats().missing_segments == ()
        lost = [number for number, item in enumerate(sent, 1) if item not in items(store)]
        ((_, _, reason),) = holes(store)
        assert "segment 2: quarantined" in reason
        assert (await put(store, [b"again"] * len(sent), range(1, len(sent) + 1))).accepted == len(lost) > 0


async def test_a_segment_of_another_store_is_quarantined(tmp_path: Path) -> None:
    for name in ("a", "b"):
        async with opened(tmp_path / name, segment_bytes=SMALL) as store:
            await fill(store, 3)
    shutil.copy(segment_files(tmp_path / "a")[1], segment_files(tmp_path / "b")[1])
    async with opened(tmp_path / "b", segment_bytes=SMALL) as store:
        assert "segment 2 of store" in holes(store)[0][2]


async def test_a_damaged_block_is_a_hole_and_the_rest_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one" * 30_000, b"two" * 30_000, b"three"], [1, 2, 3])
    damage(segment_files(tmp_path)[0], b"two" * 10)
    async with opened(tmp_path) as store:
        assert items(store) == [b"one" * 30_000, b"three"]
        first = store.wal.first("site")
        assert first is not None
        assert holes(store) == [(first + 1, first + 1, "the block does not match its checksum")]
        assert store.wal.stats().holes == 1
        again = await put(store, [b"one", b"two", b"three"], [1, 2, 3])
        assert (again.accepted, again.duplicates) == (1, 2)


async def test_a_missing_or_damaged_sidecar_is_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        ids = await fill(store, 3)
    first, second, _third = sorted((tmp_path / "wal").glob("*.ids"))
    whole = first.read_bytes(), second.read_bytes()
    first.unlink()
    damage(second, second.read_bytes()[20:40])
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        assert (first.read_bytes(), second.read_bytes()) == whole
        assert (await put(store, [b"again"] * (ids - 1), range(1, ids))).accepted == 0
        assert len(store.wal.locate(1)) == 1


async def test_orphans_are_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one"], [1])
    for name in ("0000000009.ids", "0000000009.lmdb.tmp", "0000000001.lmdb-lock"):
        (tmp_path / "wal" / name).write_bytes(b"left over")
    async with opened(tmp_path):
        names = {path.name for path in (tmp_path / "wal").iterdir()}
    assert names == {"0000000001.ids", "0000000001.lmdb", "0000000002.lmdb", "0000000002.lmdb-lock"}
