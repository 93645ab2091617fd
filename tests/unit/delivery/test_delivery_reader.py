"""Reading a stream for its links, from a real store."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.delivery.reader import CHUNK_EVENTS_MAX, Events, StreamReader
from storage import Store
from tests.faults.delivery.box import STREAM, append, bodies, opened

IDS = [f"m{n:04}" for n in range(CHUNK_EVENTS_MAX + 500)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        await append(store, bodies(IDS))
        yield store


def reader(store: Store, *, shared: bool) -> StreamReader:
    return StreamReader(store.wal, STREAM, ThreadPoolExecutor(1), shared=shared)


def ids(events: Events) -> list[str]:
    return [group.event(at)["messageId"] for group in events.groups for at in range(len(group.items))]


@pytest.mark.parametrize("shared", [True, False])
async def test_it_goes_on_where_a_chunk_ends(store: Store, shared: bool) -> None:
    stream = reader(store, shared=shared)
    first = await stream.read(0)
    second = await stream.read(first.last)
    end = await stream.read(second.last)
    assert ids(first) + ids(second) == IDS
    assert (end.groups, end.last) == ([], second.last)


async def test_links_share_a_chunk_and_its_events(store: Store) -> None:
    stream = reader(store, shared=True)
    first = await stream.read(0)
    again = await stream.read(first.last - 1)
    assert again is first
    assert first.groups[0].event(0) is again.groups[0].event(0)


async def test_one_link_keeps_no_decoded_event(store: Store) -> None:
    group = (await reader(store, shared=False).read(0)).groups[0]
    assert group.event(0) == group.event(0)
    assert group.event(0) is not group.event(0)


async def test_new_events_are_seen_behind_a_kept_chunk(store: Store) -> None:
    stream = reader(store, shared=True)
    last = store.wal.head(STREAM)
    assert (await stream.read(last)).groups == []
    await append(store, bodies(["new"]))
    assert ids(await stream.read(last)) == ["new"]
