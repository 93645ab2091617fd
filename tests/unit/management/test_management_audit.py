"""The audit log: in order, masked, bounded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.management import MASK, Audit
from storage import Store, StoreOptions


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(tmp_path, StoreOptions(free_bytes_min=0), SystemClock())
    yield store
    await asyncio.to_thread(store.close)


async def write(store: Store, audit: Audit, *ids: str) -> None:
    for id_ in ids:
        await store.catalog.write(audit.entry("key-1", "update", "stream", id_, None, {"name": id_}))


async def test_the_newest_first_page_by_page(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    await write(store, audit, "a", "b", "c")
    page = audit.read(None, 2)
    assert [entry.id for entry in page] == ["c", "b"]
    assert [entry.id for entry in audit.read(page[-1].number, 2)] == ["a"]
    assert audit.read(page[-1].number, 2)[0].after == {"name": "a"}


async def test_a_page_of_large_entries_is_short_and_the_next_one_goes_on(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    for number in range(40):
        change = audit.entry("key-1", "update", "function", str(number), None, {"code": "x" * 200_000})
        await store.catalog.write(change)
    first = audit.read(None, 99)
    assert 16 <= len(first) < 40
    rest = audit.read(first[-1].number, 99)
    assert [entry.id for entry in first + rest] == [str(number) for number in reversed(range(40))]


async def test_secrets_are_masked(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock())
    before, after = {"datasource": {"password": "old"}}, {"datasource": {"password": "new"}}
    await store.catalog.write(audit.entry("key-1", "update", "destination", "d", before, after))
    (entry,) = audit.read(None, 1)
    assert entry.before == entry.after == {"datasource": {"password": MASK}}


class StandingClock(SystemClock):
    """Its wall time is what it was long ago."""

    def wall_ms(self) -> int:
        return 1


async def test_the_order_does_not_depend_on_the_clock(store: Store) -> None:
    await write(store, Audit(store.catalog, SystemClock()), "a")
    await write(store, Audit(store.catalog, StandingClock()), "b", "c")
    assert [entry.id for entry in Audit(store.catalog, SystemClock()).read(None, 9)] == ["c", "b", "a"]


async def test_the_oldest_leave_beyond_the_bound(store: Store) -> None:
    audit = Audit(store.catalog, SystemClock(), bytes_max=400)
    await write(store, audit, *map(str, range(50)))
    kept = [entry.id for entry in audit.read(None, 99)]
    assert kept == [str(number) for number in range(49, 49 - len(kept), -1)]
    assert 2 <= len(kept) <= 6
    await write(store, Audit(store.catalog, SystemClock(), bytes_max=1), "last")
    assert [entry.id for entry in audit.read(None, 99)] == ["last"]
