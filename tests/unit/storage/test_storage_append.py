"""Appending: durability, duplicates, cancellation, refusals."""

import asyncio
import gc
import threading
import weakref
from array import array
from pathlib import Path

import pytest

from storage import Append, StorageError, StoreClosed, StoreFull, StorePoisoned
from tests.unit.storage.workbench import SMALL, BrokenClock, ManualClock, events, fill, items, opened, put


async def test_events_come_back_in_order_with_their_heads(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one", b"two"], [1, 2])
        store.wal.append(Append("site", b"other", [b"three"], [3]))
        await put(store, [b"four"], [4])
        chunk = store.wal.read("site", 0, 1_000, 10)
    assert [(group.head, group.items) for group in chunk.groups] == [
        (b"head", [b"one", b"two"]),
        (b"other", [b"three"]),
        (b"head", [b"four"]),
    ]
    assert [offset for offset, _ in events(chunk)] == list(range(chunk.last - 3, chunk.last + 1))
    assert chunk.holes == []


async def test_streams_are_apart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one"], [1], "a")
        await put(store, [b"two"], [2], "ab")
        assert (items(store, "a"), items(store, "ab"), items(store, "b")) == ([b"one"], [b"two"], [])
        assert (store.wal.head("b"), store.wal.first("b")) == (0, None)
        assert store.wal.head("a") == store.wal.first("a")


async def test_a_read_stops_at_its_bounds(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"%02d" % number for number in range(20)], range(20))
        first = store.wal.first("site")
        assert first is not None
        assert [item for _, item in events(store.wal.read("site", first + 2, 1_000, 3))] == [
            b"03",
            b"04",
            b"05",
        ]
        assert [item for _, item in events(store.wal.read("site", first - 1, 9, 100))] == [b"00", b"01"]
        assert len(events(store.wal.read("site", 0, 1, 100))) == 1


async def test_repeats_are_duplicates_once_durable(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one"], [0])
        repeat = await put(store, [b"one", b"two", b"two"], [0, 2, 2])
        assert (repeat.accepted, repeat.duplicates) == (1, 2)
        assert items(store) == [b"one", b"two"]
        assert store.wal.stats().duplicates == 2


async def test_a_repeat_of_a_pending_event_waits_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = store.wal.append(Append("site", b"", [b"one"], [1]))
        repeat = store.wal.append(Append("site", b"", [b"one"], [1]))
        await repeat.durable()
        assert (repeat.accepted, repeat.duplicates) == (0, 1)
        assert items(store) == [b"one"]
        await first.durable()


async def test_a_repeat_of_a_failing_event_fails_too_and_may_come_again(tmp_path: Path) -> None:
    clock = BrokenClock()
    async with opened(tmp_path, clock) as store:
        await put(store, [b"zero"], [0])
        clock.broken = True
        first = store.wal.append(Append("site", b"", [b"one"], [1]))
        repeat = store.wal.append(Append("site", b"", [b"one", b"two"], [1, 2]))
        for appended in (first, repeat):
            with pytest.raises(StorePoisoned):
                await appended.durable()
        clock.broken = False
    async with opened(tmp_path) as store:
        assert (await put(store, [b"zero", b"one"], [0, 1])).duplicates == 1
        assert items(store) == [b"zero", b"one"]


async def test_a_failed_commit_poisons_the_store(tmp_path: Path) -> None:
    clock = BrokenClock()
    async with opened(tmp_path, clock) as store:
        told: asyncio.Future[StorePoisoned] = asyncio.get_running_loop().create_future()
        store.on_poisoned(asyncio.get_running_loop(), told.set_result)
        clock.broken = True
        with pytest.raises(StorePoisoned) as raised:
            await put(store, [b"one"], [1])
        assert await asyncio.wait_for(told, 5) is raised.value is store.poisoned is store.wal.refusal
        with pytest.raises(StorePoisoned):
            store.wal.append(Append("site", b"", [b"two"], [2]))
        clock.broken = False
    assert (tmp_path / "unclean").exists()


async def test_cancelling_one_waiter_cancels_no_other(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        tasks = [asyncio.create_task(put(store, [b"%d" % number], [number])) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[1], asyncio.CancelledError)
        assert items(store) == [b"0", b"1", b"2"]


async def test_many_waiters_share_commits(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await asyncio.gather(*(put(store, [b"%d" % number], [number]) for number in range(500)))
        assert sorted(items(store)) == sorted(b"%d" % number for number in range(500))
        assert store.wal.stats().commits < 100
        assert store.wal.stats().pending_bytes == 0


async def test_subscribers_hear_of_durable_offsets(tmp_path: Path) -> None:
    heard: list[dict[str, int]] = []
    async with opened(tmp_path) as store:
        store.wal.subscribe(lambda heads: heard.append(dict(heads)))
        await put(store, [b"one"], [1])
        await put(store, [b"two"], [2], "other")
        assert heard == [{"site": store.wal.head("site")}, {"other": store.wal.head("other")}]


async def test_who_subscribes_after_a_commit_hears_of_it_unless_its_head_was_there_to_read(
    tmp_path: Path,
) -> None:
    stored = threading.Event()

    class Told(Append):
        def settle(self, error: StorageError | None) -> None:
            stored.set()

    heard: list[dict[str, int]] = []
    async with opened(tmp_path) as store:
        head_before = store.wal.head("site")
        store.wal.append(Told("site", b"", [b"one"], [1]))
        await asyncio.sleep(0)
        assert stored.wait(5), "and the loop has had no turn since"
        store.wal.subscribe(lambda heads: heard.append(dict(heads)))
        await put(store, [b"two"], [2], "other")
        assert heard[0] == {"site": store.wal.head("site")} != {"site": head_before}


async def test_what_could_not_be_stored_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        space = store.wal._events.space
        enough, space.reserve_bytes = space.reserve_bytes, 2**62
        bodies = [array("B", b"body") for _ in range(20)]
        kept = [weakref.ref(body) for body in bodies]
        tasks = [asyncio.create_task(put(store, [body], [at])) for at, body in enumerate(bodies)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], StoreFull)
        del done, tasks, bodies
        space.reserve_bytes = enough
        await put(store, [b"stored"], [99])  # the writer has let go of the commit before
        gc.collect()
        assert [ref() for ref in kept] == [None] * 20


async def test_too_much_pending_is_refused_and_recovers(tmp_path: Path) -> None:
    async with opened(tmp_path, pending_bytes_max=1_000) as store:
        first = store.wal.append(Append("site", b"", [b"x" * 1_000], [1]))
        with pytest.raises(StoreFull) as raised:
            store.wal.append(Append("site", b"", [b"y"], [2]))
        assert raised.value.retry_after_s > 0
        await first.durable()
        assert store.wal.refusal is None


async def test_a_full_disk_is_refused_and_recovers(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, free_bytes_min=0) as store:
        room = store.wal._room
        room._free_bytes_min = 2**62
        clock.advance(1.5)
        assert isinstance(store.wal.refusal, StoreFull)
        room._free_bytes_min = 0
        assert isinstance(store.wal.refusal, StoreFull), "asked at most once a second"
        clock.advance(1.5)
        assert store.wal.refusal is None


async def test_a_disk_that_filled_up_while_nothing_came_is_seen_by_the_first_append(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock) as store:
        await put(store, [b"one"], [1])
        store.wal._room._free_bytes_min = 2**62
        clock.advance(1.5)
        with pytest.raises(StoreFull):
            store.wal.append(Append("site", b"", [b"two"], [2]))


async def test_the_wal_has_a_ceiling(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(
        tmp_path, clock, segment_bytes=SMALL, wal_bytes_max=200_000, retention_s=0, trim_lag_s=0
    ) as store:
        await fill(store, 3)
        clock.advance(1.5)
        assert isinstance(store.wal.refusal, StoreFull)
        store.wal.trim({})
        clock.advance(1.5)
        assert store.wal.refusal is None


async def test_what_can_never_be_stored_is_a_value_error(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        for stream, item, ids in (("a\0b", b"x", [1]), ("site", b"x" * SMALL, [1]), ("site", b"x", [1, 2])):
            with pytest.raises(ValueError, match=r"stream name|above|ids"):
                store.wal.append(Append(stream, b"", [item], ids))
        with pytest.raises(ValueError, match="one at least"):
            store.wal.append(Append("site", b"", [], []))
        await put(store, [b"fine"], [1])


async def test_close_makes_what_is_pending_durable_then_refuses(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        appended = store.wal.append(Append("site", b"", [b"one"], [1]))
        store.close()
        await appended.durable()
        with pytest.raises(StoreClosed):
            store.wal.append(Append("site", b"", [b"two"], [2]))
        with pytest.raises(StoreClosed):
            store.wal.read("site", 0, 1, 1)
    async with opened(tmp_path) as store:
        assert items(store) == [b"one"]
