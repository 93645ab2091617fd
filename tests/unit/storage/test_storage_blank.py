"""Segments that are made ahead: taken whole or not at all, never in the way, gone when not needed."""

import asyncio
import os
from pathlib import Path

import pytest

from storage import Store, Transfer, restore
from storage.blank import Blank
from tests.small_disk import mounted
from tests.unit.storage.workbench import (
    SMALL,
    ManualClock,
    crash_copy,
    damage,
    holes,
    items,
    opened,
    put,
    segment_files,
)

MIB = 1024 * 1024
SEGMENT = 4 * MIB
EVENT_BYTES = 300_000


async def _put(store: Store, first: int, count: int) -> None:
    """Events number `first` and on, each a commit of its own."""
    for number in range(first, first + count):
        await put(store, [_event(number)], [number])


def _event(number: int) -> bytes:
    return b"%06d" % number * (EVENT_BYTES // 6)


def _blank(store: Store) -> Blank:
    return store._segments.blank


def _made(store: Store) -> bool:
    """Whether a blank is ready, once it is or will not be."""
    blank = _blank(store)
    with blank._changed:
        return blank._changed.wait_for(lambda: blank.ready or blank._over, 20) and blank.ready


def _sizes(path: Path) -> list[int]:
    return [segment.stat().st_size for segment in segment_files(path)]


async def test_a_segment_that_was_made_ahead_does_not_grow(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SEGMENT) as store:
        await _put(store, 1, 4)
        assert _made(store)
        await _put(store, 5, 1)
        before, after = _sizes(tmp_path)
        assert (before < 2 * MIB, after) == (True, SEGMENT), (
            "the first was left early, and takes what it uses"
        )
        blocks = segment_files(tmp_path)[1].stat().st_blocks
        assert blocks * 512 >= SEGMENT, "the pages are there, not a hole of the file"
        await _put(store, 6, 4)
        after_it = segment_files(tmp_path)[1].stat()
        assert (after_it.st_size, after_it.st_blocks) == (SEGMENT, blocks)
        assert items(store) == [_event(number) for number in range(1, 10)]
    assert sum(_sizes(tmp_path)) < 4 * MIB, "the last takes what it uses once the store is closed"
    assert not list((tmp_path / "wal").glob("*.tmp"))
    async with opened(tmp_path, segment_bytes=SEGMENT) as store:
        assert (items(store), holes(store)) == ([_event(number) for number in range(1, 10)], [])


async def test_segments_rotate_under_load(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SEGMENT) as store:
        for first in range(0, 120, 8):
            await asyncio.gather(*(put(store, [_event(n)], [n]) for n in range(first, first + 8)))
            assert not _blank(store)._thread or _made(store)
        *sealed, _last = _sizes(tmp_path)
        assert max(sealed) < SEGMENT, "only the open one has room left"
        stats = store.wal.stats()
        assert stats.segments >= 9
        assert 1 < stats.wal_bytes / (120 * EVENT_BYTES) < 1.2
        assert sorted(items(store)) == [_event(number) for number in range(120)]


async def test_after_a_kill_nothing_is_left_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "a", segment_bytes=SEGMENT) as store:
        await _put(store, 1, 4)
        assert _made(store)
        await _put(store, 5, 4)
        assert _made(store)
        crash_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "wal" / "blank.tmp").stat().st_size == SEGMENT
    async with opened(tmp_path / "b", segment_bytes=SEGMENT) as store:
        assert (items(store), holes(store)) == ([_event(number) for number in range(1, 9)], [])
        assert store.wal.stats().wal_bytes == sum(_sizes(tmp_path / "b")) < 4 * MIB
        assert not list((tmp_path / "b" / "wal").glob("*.tmp"))


@pytest.mark.parametrize("header", [False, True])
async def test_a_kill_between_its_two_renames(tmp_path: Path, header: bool) -> None:
    async with opened(tmp_path / "a", segment_bytes=SEGMENT) as store:
        await _put(store, 1, 4)
        assert _made(store)
        crash_copy(tmp_path / "a", tmp_path / "b")
        if header:
            await _put(store, 5, 1)
            crash_copy(segment_files(tmp_path / "a")[1].parent, tmp_path / "later")
    wal = tmp_path / "b" / "wal"
    (wal / "blank.tmp").rename(wal / "0000000002.lmdb.tmp")
    if header:
        (tmp_path / "later" / "0000000002.lmdb").rename(wal / "0000000002.lmdb.tmp")
    async with opened(tmp_path / "b", segment_bytes=SEGMENT) as store:
        assert items(store) == [_event(number) for number in range(1, 5)]
        await _put(store, 5, 1)
        assert (len(items(store)), holes(store), store.wal.stats().missing_segments) == (5, [], ())


async def test_a_damaged_block_in_one_is_a_hole(tmp_path: Path) -> None:
    async with opened(tmp_path / "a", segment_bytes=SEGMENT) as store:
        await _put(store, 1, 4)
        assert _made(store)
        await _put(store, 5, 3)
        crash_copy(tmp_path / "a", tmp_path / "b")
    damage(segment_files(tmp_path / "b")[1], _event(6))
    async with opened(tmp_path / "b", segment_bytes=SEGMENT) as store:
        assert items(store) == [_event(number) for number in (1, 2, 3, 4, 5, 7)]
        assert len(holes(store)) == 1


async def test_a_blank_that_somebody_removed(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SEGMENT) as store:
        await _put(store, 1, 4)
        assert _made(store)
        (tmp_path / "wal" / "blank.tmp").unlink()
        await _put(store, 5, 1)
        assert (len(_sizes(tmp_path)), store.poisoned) == (2, None)
        assert len(items(store)) == 5


async def test_small_segments_and_little_use_have_none(tmp_path: Path) -> None:
    for name, segment_bytes, events in (("small", 16 * SMALL - 1, 10), ("little", SEGMENT, 2)):
        async with opened(tmp_path / name, segment_bytes=segment_bytes) as store:
            await _put(store, 1, events)
            assert _blank(store)._thread is None


async def test_a_close_ends_one_that_is_being_made(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await _put(store, 1, 4)
        thread = _blank(store)._thread
        assert thread is not None
        store.close()
        assert not thread.is_alive()
        assert not list((tmp_path / "wal").glob("*.tmp"))


async def test_none_is_made_where_it_would_be_in_the_way(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 24) as disk:
        async with opened(disk / "store", segment_bytes=SEGMENT, free_bytes_min=16 * MIB) as store:
            await _put(store, 1, 4)
            assert not _made(store)
            await _put(store, 5, 1)
            assert (len(_sizes(disk / "store")), len(items(store))) == (1, 5)


async def test_one_gives_way_before_events_are_refused(tmp_path: Path) -> None:
    clock = ManualClock()
    with mounted(tmp_path / "disk", 32) as disk:
        async with opened(disk / "store", clock, segment_bytes=SEGMENT, free_bytes_min=4 * MIB) as store:
            await _put(store, 1, 4)
            assert _made(store)
            thread = _blank(store)._thread
            assert thread is not None
            free_bytes = store.wal.stats().free_bytes
            with (disk / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, free_bytes - 7 * MIB)
            clock.advance(1)
            await _put(store, 5, 1)
            thread.join(20)
            assert store.wal.stats().free_bytes > 10 * MIB
            await _put(store, 6, 1)
            assert len(items(store)) == 6


async def test_a_backup_takes_what_is_used(tmp_path: Path) -> None:
    async with opened(tmp_path / "a", segment_bytes=SEGMENT) as store:
        await _put(store, 1, 4)
        assert _made(store)
        await _put(store, 5, 4)
        assert _made(store)
        manifest = await asyncio.to_thread(store.back_up, tmp_path / "backup", Transfer())
        assert [file.how for file in manifest.files if file.name.endswith("1.lmdb")] == ["linked"]
        assert manifest.size_bytes < 4 * MIB
    restore(tmp_path / "backup", tmp_path / "b", Transfer())
    async with opened(tmp_path / "b", segment_bytes=SEGMENT) as store:
        assert (items(store), holes(store)) == ([_event(number) for number in range(1, 9)], [])


async def test_a_segment_that_a_backup_shares_is_not_cut(tmp_path: Path) -> None:
    async with opened(tmp_path / "a", segment_bytes=SEGMENT) as store:
        await _put(store, 1, 1)
    (segment,) = segment_files(tmp_path / "a")
    with segment.open("ab") as file:
        file.write(bytes(MIB))
    (tmp_path / "backup").hardlink_to(segment)
    segment.with_suffix(".ids").unlink()
    longer = segment.stat().st_size
    async with opened(tmp_path / "a", segment_bytes=SEGMENT) as store:
        assert (items(store), (tmp_path / "backup").stat().st_size) == ([_event(1)], longer)
