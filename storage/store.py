"""One directory, one store: its lock, its identity, the WAL, the catalog and the scratch tables.

    <path>/lock         held while the store is open         <path>/store.json   identity and format version
    <path>/unclean      there unless the store was closed    <path>/wal/         segments and their sidecars
    <path>/catalog/     small records that must last         <path>/scratch/     bounded records that may be
    refused <path>/quarantine/  segments that failed verification

Blocking calls; open and close it outside the loop's hot time.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from .backup import Source, back_up, require_target
from .clock import Clock
from .dedupe import Dedupe
from .disk import attempting, make_folder, remove_durably, write_durably
from .errors import StoreDamaged, StoreFailed, StorePoisoned
from .identity import load_identity
from .lock import DirectoryLock
from .manifest import Manifest
from .options import StoreOptions
from .poison import Poison
from .restoration import RESTORING
from .room import Room
from .segments import Segments
from .sidecar import SegmentIndex
from .tables import TableEnv
from .transfer import Transfer
from .wal import Wal


class Store:
    """Open with `Store.open`; `close` when done."""

    def __init__(self, lock: DirectoryLock, path: Path, options: StoreOptions, clock: Clock) -> None:
        """Use `Store.open`."""
        self._lock = lock
        self._path = path
        self._options = options
        self._poison = Poison()
        self._closed = False
        self._unclean_marker = path / "unclean"
        if (path / RESTORING).exists():
            raise StoreDamaged(f"open {path}", "a restore into it was cut off; run it again")
        self._identity = load_identity(path / "store.json")
        self.store_id = self._identity.store_id
        self.former = self._identity.former
        """What this store was restored from, the newest first."""
        unclean = self._unclean_marker.exists()
        with attempting(f"mark {path} as open"):
            write_durably(self._unclean_marker, b"")
        self._clock = clock
        self._segments = Segments(
            path, self._identity.ids, options.segment_bytes, options.free_bytes_min, clock
        )
        indexes = self._segments.open(unclean=unclean)
        floor = clock.wall_ms() * 1000
        self._segments.begin(floor)
        dedupe = Dedupe(options.dedupe_bytes_max, options.dedupe_window_s)
        _fill(dedupe, indexes, clock.wall_ms())
        room = Room(path, self._segments, clock, options.free_bytes_min, options.wal_bytes_max)
        self.wal = Wal(self._segments, dedupe, room, options, clock, self._poison, floor, unclean)
        self.catalog = TableEnv(path / "catalog", "catalog", options.catalog_bytes_max, self._poison)
        self.scratch = TableEnv(path / "scratch", "scratch", options.scratch_bytes_max, self._poison)

    @classmethod
    def open(cls, path: Path, options: StoreOptions, clock: Clock) -> "Store":
        """Open the store in `path`, making it where there is none. Raises StorageError; the lock is first."""
        if sys.byteorder != "little":
            raise StoreFailed(f"open {path}", "the format needs a little-endian host")
        with attempting(f"make {path}"):
            make_folder(path)
        lock = DirectoryLock(path / "lock")
        try:
            return cls(lock, path, options, clock)
        except BaseException:
            lock.release()
            raise

    def back_up(self, target: Path, transfer: Transfer) -> Manifest:
        """Copy the store, which goes on taking events, into a new folder. Blocks for as long as it takes to
        read the WAL once; `transfer` says how far it is and can stop it. The store must not be closed
        meanwhile. Raises StorageError: no backup is left then.
        """
        source = Source(
            self._path,
            self._identity,
            self._segments,
            self.catalog,
            self.scratch,
            self._clock,
            self._options.free_bytes_min,
        )
        return back_up(source, target, transfer)

    def require_backup_target(self, target: Path) -> None:
        """Raises StoreFailed, with what to do, for a folder that no backup of this store can become."""
        require_target(target, self._path)

    @property
    def poisoned(self) -> StorePoisoned | None:
        """Why the process must exit, if it must."""
        return self._poison.error

    def on_poisoned(self, loop: asyncio.AbstractEventLoop, callback: Callable[[StorePoisoned], None]) -> None:
        """Call `callback` once on `loop` when a commit or fsync fails; the process must then exit."""

        def pass_on(error: StorePoisoned) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(callback, error)

        self._poison.watch(pass_on)

    def close(self) -> None:
        """Make what is pending durable, within `close_timeout_s`, and let go of the directory. Idempotent.

        After a timeout or a poisoning the directory stays marked unclean.
        """
        if self._closed:
            return
        self._closed = True
        drained = [
            self.wal.close(self._options.close_timeout_s),
            self.catalog.close(self._options.close_timeout_s),
            self.scratch.close(self._options.close_timeout_s),
        ]
        if all(drained):
            # After a poisoning only reading the segment tells what is in it: no sidecar then.
            self._segments.close(seal=self._poison.error is None)
            if self._poison.error is None:
                with attempting(f"mark {self._path} as closed"):
                    remove_durably(self._unclean_marker)
            self._lock.release()


def _fill(dedupe: Dedupe, indexes: list[SegmentIndex], now_ms: int) -> None:
    """Rebuild the dedupe set from the newest segments that fit in it, oldest first."""
    room = dedupe.ids_max
    chosen = []
    dedupe.short = bool(indexes) and indexes[0].number > 1
    for index in reversed(indexes):
        if room <= 0:
            dedupe.short = True
            break
        chosen.append(index)
        room -= len(index.ids())
    for index in reversed(chosen):
        dedupe.restore(index.ids(), index.first_ms, index.last_ms)
    dedupe.evict(now_ms)
