"""The group writer itself: who waits is answered, whatever became of the thread."""

import asyncio
import threading

import pytest

from storage import StorageError, StoreClosed, StorePoisoned
from storage.poison import Poison
from storage.writer import GroupWriter, Queued

Commits = list[list[Queued]]


def _writer(performed: Commits) -> GroupWriter[Queued]:
    return GroupWriter("test", 1_000, lambda items, _size: performed.append(items), Poison())


def _items(count: int, size_bytes: int = 1) -> list[Queued]:
    return [Queued(size_bytes=size_bytes) for _ in range(count)]


async def _durable(items: list[Queued]) -> None:
    await asyncio.wait_for(asyncio.gather(*(item.durable() for item in items)), 5)


async def test_items_of_one_turn_of_the_loop_share_a_commit() -> None:
    performed: Commits = []
    writer = _writer(performed)
    items = _items(10)
    for item in items:
        writer.put(item)
    await _durable(items)
    assert performed == [items]
    assert writer.pending_bytes == 0
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_items_queued_during_a_commit_share_the_next_one() -> None:
    performed: Commits = []
    began, go_on = threading.Event(), threading.Event()

    def perform(items: list[Queued], _size_bytes: int) -> None:
        performed.append(items)
        began.set()
        assert go_on.wait(5)

    writer: GroupWriter[Queued] = GroupWriter("test", 1_000, perform, Poison())
    writer.start(asyncio.get_running_loop())
    first, second, third = _items(3)
    writer.put(first)
    assert await asyncio.to_thread(began.wait, 5)
    for item in (second, third):
        writer.put(item)
        await asyncio.sleep(0)
    assert writer.pending_bytes == 3
    go_on.set()
    await _durable([first, second, third])
    assert performed == [[first], [second, third]]
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_a_commit_has_its_bytes_or_one_item() -> None:
    performed: Commits = []
    writer = _writer(performed)
    writer.start(asyncio.get_running_loop())
    items = [*_items(3, 400), *_items(1, 2_000), *_items(1)]
    for item in items:
        writer.put(item)
    await _durable(items)
    assert performed == [items[:2], items[2:3], items[3:4], items[4:]]
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_what_is_queued_when_the_writer_stops_is_made_durable() -> None:
    performed: Commits = []
    writer = _writer(performed)
    writer.start(asyncio.get_running_loop())
    items = _items(1)
    writer.put(items[0])
    assert writer.stop(5.0)
    await _durable(items)
    assert performed == [items]


async def test_what_is_queued_after_the_writer_has_gone_is_answered() -> None:
    writer = _writer([])
    writer.start(asyncio.get_running_loop())
    await asyncio.to_thread(writer.stop, 5.0)
    items = _items(1)
    writer.put(items[0])
    with pytest.raises(StoreClosed):
        await _durable(items)


async def test_a_writer_that_was_stopped_before_its_first_item_is_not_started_by_it() -> None:
    performed: Commits = []
    writer = _writer(performed)
    assert writer.stop(5.0)
    items = _items(1)
    writer.put(items[0])
    with pytest.raises(StoreClosed):
        await _durable(items)
    assert not writer.alive
    assert not performed


async def test_a_writer_that_dies_answers_what_waits_and_poisons(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = _writer([])

    def fails(*_: object) -> StorageError | None:
        raise SystemError("mine")

    monkeypatch.setattr(writer, "_outcome", fails)
    writer.start(asyncio.get_running_loop())
    items = _items(3, 900)
    for item in items:
        writer.put(item)
    for item in items[1:]:
        with pytest.raises(StorePoisoned):
            await asyncio.wait_for(item.durable(), 5)
    assert isinstance(writer.refusal, StorePoisoned)


async def test_who_waits_is_told_and_no_ones_cancellation_is_anothers() -> None:
    item = Queued(size_bytes=1)
    cancelled, awaited = item.durable(), item.durable()
    cancelled.cancel()
    await asyncio.to_thread(item.settle, None)
    await asyncio.wait_for(awaited, 5)
    await asyncio.wait_for(item.durable(), 5)


@pytest.mark.parametrize("failure", [ValueError, SystemExit])
async def test_no_ones_failure_is_anothers(
    failure: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Queued):
        def settle(self, error: StorageError | None) -> None:
            raise failure("mine alone")

    writer = _writer([])
    writer.start(asyncio.get_running_loop())
    items = [*_items(1), Fails(size_bytes=1), *_items(1)]
    for item in items:
        writer.put(item)
    await _durable([items[0], items[2]])
    assert "mine alone" in caplog.text
    assert writer.refusal is None
    assert await asyncio.to_thread(writer.stop, 5.0)


async def test_the_writer_tidies_while_nothing_waits() -> None:
    left, done = iter([True, True, False]), threading.Event()

    def tidy() -> bool:
        more = next(left, False)
        if not more:
            done.set()
        return more

    writer: GroupWriter[Queued] = GroupWriter("test", 1_000, lambda _items, _size: None, Poison(), tidy)
    writer.start(asyncio.get_running_loop())
    writer.wake()
    assert await asyncio.to_thread(done.wait, 5)
    assert next(left, None) is None
    assert await asyncio.to_thread(writer.stop, 5.0)
