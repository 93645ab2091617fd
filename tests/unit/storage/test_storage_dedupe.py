"""The set of durable ids: its bounds in memory and time."""

import gc
from array import array
from pathlib import Path

from storage.dedupe import ID_BYTES, Dedupe
from tests.unit.storage.workbench import SMALL, ManualClock, fill, opened, put

HOUR_MS = 3_600_000


def drained(dedupe: Dedupe) -> Dedupe:
    while dedupe.free(1):
        pass
    return dedupe


def test_the_oldest_leave_when_memory_is_full() -> None:
    dedupe = Dedupe(100 * ID_BYTES, 86_400)
    for number in range(300):
        dedupe.add({number}, number)
        dedupe.evict(number)
    assert 75 <= len(drained(dedupe)) <= 100
    assert dedupe.knows(299)
    assert not dedupe.knows(199)
    assert dedupe.knows_none(range(200))
    assert dedupe.short
    assert dedupe.window_s(300) <= 0.1


def test_the_oldest_leave_when_the_window_is_over() -> None:
    dedupe = Dedupe(1_000 * ID_BYTES, 3_600)
    dedupe.add({1}, 0)
    dedupe.add({2}, HOUR_MS)
    dedupe.evict(HOUR_MS + 1)
    assert (dedupe.knows(1), dedupe.knows(2), len(dedupe)) == (False, True, 1)
    assert dedupe.window_s(HOUR_MS + 1) == 3_600


def test_a_large_generation_is_freed_in_slices() -> None:
    dedupe = Dedupe(200_000 * ID_BYTES, 3_600)
    dedupe.add(range(40_000), 0)
    dedupe.evict(HOUR_MS + 1)
    assert len(dedupe) == 0
    assert dedupe.free(1)
    assert not dedupe.free(40_000)
    assert len(drained(dedupe)) == 0


def test_the_garbage_collector_does_not_look_into_generations() -> None:
    dedupe = Dedupe(1_000 * ID_BYTES, 3_600)
    dedupe.add({2**64 - 1, 2}, 0)
    dedupe.restore(array("Q", [3, 2**63]), 0, 0)
    assert not any(gc.is_tracked(generation.ids) for generation in dedupe._generations)


def test_forgotten_ids_are_new_again() -> None:
    dedupe = Dedupe(1_000 * ID_BYTES, 3_600)
    dedupe.add({1, 2, 3}, 0)
    dedupe.forget([2, 9])
    assert (dedupe.knows(2), dedupe.knows(3), len(dedupe)) == (False, True, 2)


async def test_a_small_set_is_rebuilt_from_the_newest_segments(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        newest = await fill(store, 4) - 1
    async with opened(tmp_path, segment_bytes=SMALL, dedupe_bytes_max=6 * ID_BYTES) as store:
        assert (await put(store, [b"again"], [newest])).duplicates == 1
        assert (await put(store, [b"again"], [1])).duplicates == 0
        assert store.wal.stats().dedupe_ids <= 7


async def test_a_repeat_after_the_window_is_taken(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, dedupe_window_s=60) as store:
        await put(store, [b"one"], [1])
        clock.advance(61)
        await put(store, [b"two"], [2])
        assert (await put(store, [b"one"], [1])).accepted == 1
