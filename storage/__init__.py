"""The embedded store: one directory with a write-ahead log of events and tables of small records.

It knows nothing of the server. Public names only from here; every module of this package is private.
"""

from .append import Append
from .chunk import Chunk, Group, Hole, Position, StoredEvent
from .clock import Clock
from .errors import (
    StorageError,
    StoreClosed,
    StoreDamaged,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StorePoisoned,
    StoreTooNew,
)
from .identity import Former
from .manifest import Manifest
from .options import StoreOptions
from .restoration import Restored, restore
from .stats import COMMIT_BOUNDS_S, Backlog, Trimmed, WalStats
from .store import Store
from .tables import Delete, Put, TableEnv
from .transfer import Transfer
from .wal import Wal
from .writer import SWITCH_INTERVAL_S

__all__ = [
    "COMMIT_BOUNDS_S",
    "SWITCH_INTERVAL_S",
    "Append",
    "Backlog",
    "Chunk",
    "Clock",
    "Delete",
    "Former",
    "Group",
    "Hole",
    "Manifest",
    "Position",
    "Put",
    "Restored",
    "StorageError",
    "Store",
    "StoreClosed",
    "StoreDamaged",
    "StoreFailed",
    "StoreFull",
    "StoreLocked",
    "StoreOptions",
    "StorePoisoned",
    "StoreTooNew",
    "StoredEvent",
    "TableEnv",
    "Transfer",
    "Trimmed",
    "Wal",
    "WalStats",
    "restore",
]
