"""The group writer itself: who waits is answered, whatever became of the thread."""

import asyncio
import queue
import threading
from collections.abc import Mapping

import pytest

from storage import StorageError, StoreClosed
from storage.announcer import Announcer
from storage.poison import Poison
from storage.writer import Commit, GroupWriter, durable


def _writer(performed: list[Commit]) -> GroupWriter[Commit]:
    return GroupWriter("test", 1_000, Commit, performed.append, lambda commit: None, Poison())


async def test_appends_of_one_turn_of_the_loop_share_a_commit() -> None:
    performed: list[Commit] = []
    writer = _writer(performed)
    writer.start()
    with writer.lock:
        commits = {writer.join(1) for _ in range(10)}
    await asyncio.wait_for(durable(commits.pop()), 5)
    assert not commits
    assert len(performed) == 1
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_a_full_commit_does_not_wait_for_the_end_of_the_turn() -> None:
    performed: list[Commit] = []
    writer = _writer(performed)
    writer.start()
    with writer.lock:
        first, second = writer.join(900), writer.join(900)
    await asyncio.wait_for(asyncio.gather(durable(first), durable(second)), 5)
    assert performed == [first, second]
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_what_is_held_back_when_the_writer_stops_is_made_durable() -> None:
    performed: list[Commit] = []
    writer = _writer(performed)
    writer.start()
    with writer.lock:
        commit = writer.join(1)
    writer.stop(5.0)
    await asyncio.wait_for(durable(commit), 5)
    assert performed == [commit]


async def test_nothing_joins_after_the_writer_has_gone() -> None:
    writer = _writer([])
    writer.start()
    await asyncio.to_thread(writer.stop, 5.0)
    with writer.lock, pytest.raises(StoreClosed):
        writer.join(1)


async def test_who_waits_is_told_in_turn_and_no_ones_failure_is_anothers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    commit, told = Commit(), list[StorageError | None]()

    def fails(error: StorageError | None) -> None:
        raise ValueError("mine alone")

    for call in (told.append, fails, told.append):
        commit.then(call)
    cancelled, awaited = durable(commit), durable(commit)
    cancelled.cancel()
    commit.settle()
    commit.then(told.append)
    await awaited
    assert told == [None] * 3
    assert "mine alone" in caplog.text


def _told_of(commit: Commit) -> list[int]:
    """Who was told, when four ask on threads of their own while a fifth settles it."""
    told = list[int]()

    def ask(at: int) -> None:
        commit.then(lambda _: told.append(at))

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(4)]
    threads.insert(2, threading.Thread(target=commit.settle))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(told)


def test_whoever_comes_while_it_is_settled_is_told_once() -> None:
    for _ in range(200):
        assert _told_of(Commit()) == [0, 1, 2, 3]


class Rig:
    """A writer with a window that no test outlasts, whose commits end when the test says so."""

    def __init__(self, window_s: float = 60.0) -> None:
        self.begun: queue.SimpleQueue[Commit] = queue.SimpleQueue()
        self.end: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.writer = GroupWriter("test", 1_000, Commit, self._perform, lambda _: None, Poison(), window_s)
        self.writer.start()

    def _perform(self, commit: Commit) -> None:
        self.begun.put(commit)
        self.end.get(timeout=5)

    def append(self, size_bytes: int = 1) -> Commit:
        with self.writer.lock:
            commit = self.writer.join(size_bytes)
        commit.then(lambda _: self.told.put(threading.get_ident()))
        return commit

    def commit_one(self) -> None:
        self.append()
        self.begun.get(timeout=5)
        self.end.put(None)
        self.told.get(timeout=5)


def test_the_first_after_a_quiet_while_is_begun_at_once() -> None:
    rig = Rig()
    commit = rig.append()
    assert rig.begun.get(timeout=5) is commit
    rig.end.put(None)
    assert rig.told.get(timeout=5) != threading.get_ident()
    assert rig.writer.stop(5.0)


def test_what_comes_within_the_window_waits_for_more_unless_it_is_full() -> None:
    rig = Rig()
    rig.commit_one()
    first = rig.append(600)
    assert rig.append(300) is first
    rig.writer.give_way()  # not due
    with pytest.raises(queue.Empty):
        rig.begun.get_nowait()
    second = rig.append(600)
    assert second is not first
    assert rig.begun.get(timeout=5) is first
    for _ in range(2):
        rig.end.put(None)
    assert rig.writer.stop(5.0)  # and what was held back is made durable
    assert rig.begun.get_nowait() is second


def test_who_gives_way_tells_who_waits() -> None:
    rig = Rig(window_s=5.0)
    rig.append()
    rig.end.put(None)  # it is waited for
    rig.writer.give_way()
    assert rig.told.get_nowait() == threading.get_ident()
    assert rig.writer.pending_bytes == 0
    assert rig.writer.stop(5.0)


def test_who_gives_way_to_a_slow_commit_goes_on_and_the_writer_tells() -> None:
    rig = Rig(window_s=0.001)
    rig.append()
    rig.writer.give_way()
    rig.begun.get(timeout=5)
    assert rig.told.empty()
    rig.append()
    rig.writer.give_way()  # one is on its way: does not wait for the next
    for _ in range(2):
        rig.end.put(None)
        assert rig.told.get(timeout=5) != threading.get_ident()
    assert rig.writer.stop(5.0)


def test_nobody_has_to_give_way() -> None:
    rig = Rig(window_s=0.001)
    for _ in range(3):
        rig.end.put(None)
        rig.append()
        rig.told.get(timeout=5)
    assert rig.writer.stop(5.0)


async def test_the_loop_hears_of_many_commits_at_once() -> None:
    heard, announcer = list[dict[str, int]](), Announcer()
    told = asyncio.Event()

    def hear(heads: Mapping[str, int]) -> None:
        heard.append(dict(heads))
        told.set()

    announcer.subscribe(hear)
    for heads in ({"a": 1}, {"a": 3, "b": 1}, {"a": 2}):
        announcer.announce(heads)
    await asyncio.wait_for(told.wait(), 5)
    assert heard == [{"a": 3, "b": 1}]
    told.clear()
    await asyncio.to_thread(announcer.announce, {"a": 4})
    await asyncio.wait_for(told.wait(), 5)
    assert heard[1:] == [{"a": 4}]
    announcer.unsubscribe(hear)
    announcer.announce({"a": 5})
    assert heard[2:] == []
