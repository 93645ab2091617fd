"""Links that were deleted: their checkpoint is kept for a grace period, so that one that comes back goes on
where it was; after it, all that is left is a mark that keeps a new link under the same id from being taken
for it.

Thread: the event loop. Raises StorageError of what could not be written; to forget again does no harm.
"""

from collections.abc import Collection
from typing import Final

from storage import Delete, Store

from . import checkpoint as checkpoints
from .dead_letters import DROPS_TABLE, INDEX_TABLE, PAYLOAD_TABLE
from .lanes import PARKED_TABLE, RELEASED_TABLE

GRACE_MS: Final = 7 * 86_400_000
_CATALOG_TABLES: Final = (PARKED_TABLE, RELEASED_TABLE, INDEX_TABLE, DROPS_TABLE)
_PAGE: Final = 1_000


async def forget(store: Store, link_id: str) -> None:
    """What the link has parked, dropped and dead-lettered goes, and its checkpoint last."""
    prefix = link_id.encode() + b"\0"
    while keys := store.scratch.scan(PAYLOAD_TABLE, prefix, limit=_PAGE):
        await store.scratch.write([Delete(PAYLOAD_TABLE, key) for key, _ in keys])
    for table in _CATALOG_TABLES:
        while keys := store.catalog.scan(table, prefix, limit=_PAGE):
            await store.catalog.write([Delete(table, key) for key, _ in keys])
    stored = checkpoints.load(store.catalog, link_id)
    if stored is not None:
        await store.catalog.write([checkpoints.put(link_id, checkpoints.forgotten(stored))])


async def forget_old(store: Store, existing: Collection[str], now_ms: int) -> None:
    """Forgets the links that were deleted longer than the grace period ago."""
    for link_id, stored in checkpoints.load_all(store.catalog):
        gone_ms = stored.removed_ms
        if link_id not in existing and gone_ms is not None and now_ms - gone_ms > GRACE_MS:
            await forget(store, link_id)
