"""What is remembered of deleted links, and for how long."""

import asyncio
from pathlib import Path

import msgspec

from server.clock import SystemClock
from server.management.removed_links import KEPT_MS, id_before, removals
from server.management.stored import Stored
from storage import Store, StoreOptions

ENDS = {"from": "a", "to": "b"}


def _link(id_: str) -> Stored:
    return Stored("link", id_, "default", 1, False, dict(ENDS), msgspec.Struct())


async def test_old_ones_go_with_a_later_deletion(tmp_path: Path) -> None:
    store = Store.open(tmp_path, StoreOptions(free_bytes_min=0), SystemClock())
    catalog = store.catalog
    for id_, now_ms in (("old", 1), ("other", KEPT_MS + 1), ("new", KEPT_MS + 2)):
        await catalog.write(removals(catalog, [(_link(id_), None)], now_ms))
    assert [key for key, _ in catalog.scan("removed_links")] == [b"new", b"other"]
    assert id_before(catalog, "default", ENDS) == "new"
    await catalog.write(removals(catalog, [(None, _link("new"))], KEPT_MS + 3))
    assert id_before(catalog, "default", ENDS) == "other"
    await asyncio.to_thread(store.close)
