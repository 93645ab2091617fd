"""The group writer itself: who waits is answered, whatever became of the thread."""

import asyncio

import pytest

from storage import StorageError, StoreClosed
from storage.poison import Poison
from storage.writer import Commit, GroupWriter, durable


def _writer(performed: list[Commit]) -> GroupWriter[Commit]:
    return GroupWriter("test", 1_000, Commit, performed.append, lambda commit: None, Poison())


async def test_appends_of_one_turn_of_the_loop_share_a_commit() -> None:
    performed: list[Commit] = []
    writer = _writer(performed)
    writer.start(asyncio.get_running_loop())
    with writer.lock:
        commits = {writer.join(1) for _ in range(10)}
    await asyncio.wait_for(durable(commits.pop()), 5)
    assert not commits
    assert len(performed) == 1
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_a_full_commit_does_not_wait_for_the_end_of_the_turn() -> None:
    performed: list[Commit] = []
    writer = _writer(performed)
    writer.start(asyncio.get_running_loop())
    with writer.lock:
        first, second = writer.join(900), writer.join(900)
    await asyncio.wait_for(asyncio.gather(durable(first), durable(second)), 5)
    assert performed == [first, second]
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_what_is_held_back_when_the_writer_stops_is_made_durable() -> None:
    performed: list[Commit] = []
    writer = _writer(performed)
    writer.start(asyncio.get_running_loop())
    with writer.lock:
        commit = writer.join(1)
    writer.stop(5.0)
    await asyncio.wait_for(durable(commit), 5)
    assert performed == [commit]


async def test_what_joins_after_the_writer_has_gone_is_answered() -> None:
    writer = _writer([])
    writer.start(asyncio.get_running_loop())
    await asyncio.to_thread(writer.stop, 5.0)
    with writer.lock:
        commit = writer.join(1)
    with pytest.raises(StoreClosed):
        await asyncio.wait_for(durable(commit), 5)


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
