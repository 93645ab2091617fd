"""Segments that somebody else unlinks while the store is open."""

from pathlib import Path

import pytest

from storage import StoreFailed
from tests.unit.storage.workbench import SMALL, ManualClock, fill, holes, items, opened, put, segment_files

MISSING = "the file is missing"


async def test_a_segment_that_is_gone_is_a_hole_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        await fill(store, 4)
        sent = items(store)
        first = store.wal.first("site")
        segment_files(tmp_path)[0].unlink()
        left = items(store)
        assert left == sent[-len(left) :]
        ((begin, end, reason),) = holes(store)
        assert (begin, end - begin + 1, reason) == (1, end, f"segment 1: {MISSING}")
        assert first is not None
        assert end - first + 1 == len(sent) - len(left)
        assert store.wal.stats().missing_segments == (f"1: {MISSING}",)
        taken = await put(store, [b"again"], [1])
        assert taken.duplicates == 0


async def test_a_segment_that_nobody_read_yet_is_a_hole_too(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        await fill(store, 3)
        sent = items(store)
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        segment_files(tmp_path)[1].unlink()
        assert 0 < len(items(store)) < len(sent)
        assert [reason for _, _, reason in holes(store)] == [f"segment 2: {MISSING}"]


async def test_a_disk_that_is_away_makes_no_holes(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        await fill(store, 4)
        sent = items(store)
        (tmp_path / "wal").rename(tmp_path / "away")
        with pytest.raises(StoreFailed):
            items(store)
        (tmp_path / "away").rename(tmp_path / "wal")
        assert (items(store), holes(store)) == (sent, [])


async def test_a_segment_that_is_gone_is_trimmed_as_others_are(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, segment_bytes=SMALL, trim_lag_s=0, retention_s=10) as store:
        await fill(store, 4)
        segment_files(tmp_path)[0].unlink()
        clock.advance(60)
        assert store.wal.trim({}).segments == 3
