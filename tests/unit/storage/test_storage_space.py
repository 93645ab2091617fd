"""A disk that is really full: commits are refused before LMDB meets it, and the store goes on."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import Delete, Put, Store, StoreFull, StoreOptions
from tests.small_disk import mounted
from tests.unit.storage.workbench import ManualClock, items, opened, put

MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    with mounted(tmp_path / "disk", 24) as disk:
        yield disk


def _fill(disk: Path, leave_bytes: int) -> Path:
    """Leave so many bytes free on the disk."""
    space = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave_bytes)
    return filler


async def _append_until_full(store: Store) -> int:
    """Events of 500 KB are stored until one is refused; how many were."""
    for number in range(1, 100):
        try:
            await put(store, [b"%04d" % number * 125_000], [number])
        except StoreFull:
            return number - 1
    raise AssertionError("the disk is never full")


async def test_events_on_a_full_disk_are_refused_and_the_store_goes_on(small_disk: Path) -> None:
    async with opened(small_disk / "store", segment_bytes=2 * MIB) as store:
        taken = await _append_until_full(store)
        assert taken > 10
        filler = _fill(small_disk, 0)
        for _ in range(3):
            with pytest.raises(StoreFull):
                await put(store, [b"small"], [1000])
        assert store.poisoned is None
        filler.unlink()
        await put(store, [b"small"], [1000])
        assert len(items(store)) == taken + 1


async def test_records_on_a_full_disk_are_refused_and_the_store_goes_on(small_disk: Path) -> None:
    async with opened(small_disk / "store") as store:
        await store.catalog.write([Put("t", b"before", bytes(1_000))])
        filler = _fill(small_disk, 64 * 1024)
        for op in (Put("t", b"k", bytes(100_000)), Put("new", b"k", b""), Delete("t", b"before")):
            with pytest.raises(StoreFull):
                await store.catalog.write([op])
        assert store.poisoned is None
        filler.unlink()
        await store.catalog.write([Put("t", b"k", b"v")])
        assert store.catalog.get("t", b"before") == bytes(1_000)


async def test_events_stop_before_the_records_that_let_the_wal_be_trimmed(small_disk: Path) -> None:
    async with opened(small_disk / "store") as store:
        _fill(small_disk, 3 * MIB)
        with pytest.raises(StoreFull):
            await put(store, [b"one"], [1])
        await store.catalog.write([Put("checkpoints", b"k", b"v")])
        assert store.catalog.get("checkpoints", b"k") == b"v"


async def test_an_open_without_room_for_a_segment_says_so(small_disk: Path) -> None:
    async with opened(small_disk / "store") as store:
        await put(store, [b"one"], [1])
    filler = _fill(small_disk, 8 * 1024)
    with pytest.raises(StoreFull, match="make room"):
        Store.open(small_disk / "store", StoreOptions(), ManualClock())
    filler.unlink()
    async with opened(small_disk / "store") as store:
        assert items(store) == [b"one"]


async def test_a_commit_wants_its_size_and_a_reserve_free(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        space = store.wal._events.space
        enough, space.reserve_bytes = space.reserve_bytes, 2**62
        with pytest.raises(StoreFull, match="bytes are free") as raised:
            await put(store, [b"one"], [1])
        assert raised.value.retry_after_s > 0
        assert (store.poisoned, store.wal.stats().refused_full) == (None, 1)
        space.reserve_bytes = enough
        assert (await put(store, [b"one"], [1])).accepted == 1, "a refused event may come again"
        assert items(store) == [b"one"]


async def test_the_log_says_once_that_no_event_is_taken_and_once_that_they_are_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, free_bytes_min=2**62) as store:
        caplog.set_level(logging.INFO, "penstock.storage")
        for _ in range(3):
            store.wal.look()
            with pytest.raises(StoreFull, match="make room"):
                await put(store, [b"one"], [1])
            clock.advance(1)
        (said,) = caplog.records
        assert (said.levelname, "store.free_bytes_min" in said.getMessage()) == ("WARNING", True)
        store.wal._room._free_bytes_min = 0
        for _ in range(10):
            store.wal.look()
            clock.advance(1)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
