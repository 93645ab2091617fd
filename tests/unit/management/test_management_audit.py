"""The audit log: in order, masked, bounded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.management import MASK, Act, Audit
from storage import Put, Store, StoreFull, StoreOptions


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path, StoreOptions(free_bytes_min=0), SystemClock())
    yield store
    await asyncio.to_thread(store.close)


async def write(audit: Audit, *ids: str) -> None:
    for id_ in ids:
        await audit.write([], [Act("key-1", "update", "stream", id_, None, {"name": id_})])


async def test_the_newest_first_page_by_page(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    await write(audit, "a", "b", "c")
    page = audit.read(None, 2)
    assert [entry.id for entry in page] == ["c", "b"]
    assert [entry.id for entry in audit.read(page[-1].number, 2)] == ["a"]
    assert audit.read(page[-1].number, 2)[0].after == {"name": "a"}


async def test_a_page_of_large_entries_is_short_and_the_next_one_goes_on(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    for number in range(40):
        act = Act("key-1", "update", "function", str(number), None, {"code": "x" * 200_000})
        await audit.write([], [act])
    first = audit.read(None, 99)
    assert 16 <= len(first) < 40
    rest = audit.read(first[-1].number, 99)
    assert [entry.id for entry in first + rest] == [str(number) for number in reversed(range(40))]


async def test_secrets_are_masked(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    before, after = {"datasource": {"password": "old"}}, {"datasource": {"password": "new"}}
    await audit.write([], [Act("key-1", "update", "destination", "d", before, after)])
    (entry,) = audit.read(None, 1)
    assert entry.before == entry.after == {"datasource": {"password": MASK}}


class StandingClock(SystemClock):
    """Its wall time is what it was long ago."""

    def wall_ms(self) -> int:
        return 1


async def test_the_order_does_not_depend_on_the_clock(store: Store) -> None:
    await write(Audit(store.catalog, SystemClock()), "a")
    await write(Audit(store.catalog, StandingClock()), "b", "c")
    assert [entry.id for entry in Audit(store.catalog, SystemClock()).read(None, 9)] == ["c", "b", "a"]


async def test_the_oldest_leave_beyond_the_bound(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock(), bytes_max=400)
    await write(audit, *map(str, range(50)))
    kept = [entry.id for entry in audit.read(None, 99)]
    assert kept == [str(number) for number in range(49, 49 - len(kept), -1)]
    assert 2 <= len(kept) <= 6
    await write(Audit(store.catalog, SystemClock(), bytes_max=1), "last")
    assert [entry.id for entry in audit.read(None, 99)] == ["last"]


async def test_what_is_not_written_does_not_count(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock(), bytes_max=400)
    await write(audit, "a", "b")
    act = Act("key-1", "update", "stream", "x", None, {})
    for _ in range(20):
        with pytest.raises(StoreFull):
            await audit.write([Put("objects", b"k", bytes(100_000_000))], [act])
    await write(audit, "c")
    assert [entry.id for entry in audit.read(None, 99)] == ["c", "b", "a"]


async def test_entries_that_are_written_at_once_are_all_there(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    await asyncio.gather(*(write(audit, str(number)) for number in range(20)))
    assert [entry.id for entry in audit.read(None, 99)] == [str(number) for number in reversed(range(20))]
