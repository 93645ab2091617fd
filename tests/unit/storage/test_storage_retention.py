"""Trimming: what must stay, what may go, and what is said of it."""

from pathlib import Path

from tests.unit.storage.workbench import SMALL, ManualClock, fill, holes, items, opened, put, segment_files

EAGER = {"segment_bytes": SMALL, "retention_s": 0, "trim_lag_s": 0}


async def test_passed_segments_go_and_the_gap_is_reported(tmp_path: Path) -> None:
    async with opened(tmp_path, **EAGER) as store:
        await fill(store, 4)
        sent, head, before = items(store), store.wal.head("site"), store.wal.first("site")
        trimmed = store.wal.trim({"site": head})
        assert (trimmed.segments, trimmed.unread_events) == (3, 0)
        assert len(segment_files(tmp_path)) == 1
        after = store.wal.first("site")
        assert before is not None
        assert after is not None
        assert holes(store) == [(1, after - 1, "trimmed")]
        assert items(store) == sent[after - before :]


async def test_a_link_that_is_behind_keeps_its_segments(tmp_path: Path) -> None:
    async with opened(tmp_path, retention_bytes_max=1, **EAGER) as store:
        await fill(store, 4)
        first = store.wal.first("site")
        assert first is not None
        assert store.wal.trim({"site": first}).segments == 0


async def test_what_no_link_reads_is_trimmed_and_counted(tmp_path: Path) -> None:
    async with opened(tmp_path, **EAGER) as store:
        await fill(store, 3)
        trimmed = store.wal.trim({"other": 0})
        assert trimmed.unread_events == store.wal.stats().trimmed_unread_events > 0


async def test_young_segments_stay_unless_there_are_too_many(tmp_path: Path) -> None:
    for bytes_max, trimmed in ((10**9, 0), (1, 3), (0, 0)):
        path = tmp_path / str(bytes_max)
        async with opened(path, segment_bytes=SMALL, trim_lag_s=0, retention_bytes_max=bytes_max) as store:
            await fill(store, 4)
            assert store.wal.trim({}).segments == trimmed


async def test_segments_rest_after_they_were_passed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, segment_bytes=SMALL, retention_s=0, trim_lag_s=100) as store:
        await fill(store, 3)
        clock.advance(500)
        assert store.wal.trim({}).segments == 0, "seen as passed just now"
        clock.advance(101)
        assert store.wal.trim({}).segments == 2


async def test_age_does_not_count_while_the_clocks_disagree(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, segment_bytes=SMALL, trim_lag_s=0) as store:
        await fill(store, 3)
        clock.now_ms += 30 * 86_400_000
        assert store.wal.trim({}).segments == 0
        assert store.wal.stats().clocks_diverged
        clock.now_s += 30 * 86_400
        assert store.wal.trim({}).segments == 2


async def test_a_segment_is_not_unlinked_under_its_reader(tmp_path: Path) -> None:
    async with opened(tmp_path, **EAGER) as store:
        await fill(store, 3)
        oldest = store.wal._segments.listed[0]
        with store.wal._segments.reading(oldest):
            assert store.wal.trim({}).segments == 0
        assert store.wal.trim({}).segments == 2


async def test_trimmed_heads_and_offsets_outlive_restarts(tmp_path: Path) -> None:
    async with opened(tmp_path, **EAGER) as store:
        await fill(store, 2)
        head = store.wal.head("site")
    async with opened(tmp_path, **EAGER) as store:
        store.wal.trim({"site": head})
        assert store.wal.head("site") == head
    async with opened(tmp_path, **EAGER) as store:
        assert (store.wal.head("site"), store.wal.first("site"), items(store)) == (head, None, [])
        await put(store, [b"next"], [900])
        assert items(store) == [b"next"]
