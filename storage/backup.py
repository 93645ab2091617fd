"""A copy of a store that is open and taking events: catalog, then scratch, then the WAL up to now.

The order makes it consistent without stopping anyone. A checkpoint says that everything up to an offset is
done, so the WAL is copied after the catalog: no checkpoint in the copy is ahead of the copy's WAL. The index
of dead letters is in the catalog and their events were in scratch before: scratch comes after the catalog.
From before the first copy on nothing is trimmed that is not in the copy yet, so what the copied checkpoints
still want is there. Sealed segments never change: they are linked (copied where no link can go); the open one
is copied last, in one read transaction. What was durable when it began is in the copy, perhaps more.

Everything is written below `<target>.partial`, the manifest last, then renamed: a backup is whole or is none.
Thread: any that may block for long; one backup of a store at a time.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from .clock import Clock
from .disk import Space, attempting, make_folder, sync
from .errors import StoreFailed
from .identity import Identity
from .lock import DirectoryLock
from .manifest import BackedUp, Manifest
from .segment import Segment
from .segments import Segments
from .tables import TableEnv
from .transfer import Digest, Transfer
from .verify import verify_segment

FILES: Final = "store"
"""The folder of a backup that holds the store's files: nobody takes it for a data directory by mistake."""
_PARTIAL: Final = ".partial"
_LOCK: Final = "lock"
_RESERVE_BYTES: Final = 16 * 1024 * 1024
_UNLINKABLE: Final = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What the system says where no hard link can go: another file system, or one without links."""


@dataclass(frozen=True, slots=True)
class Source:
    """The open store."""

    path: Path
    identity: Identity
    segments: Segments
    catalog: TableEnv
    scratch: TableEnv
    clock: Clock
    free_bytes_min: int


def require_target(target: Path, store: Path) -> Path:
    """The real path of a folder that a backup of `store` can become. Raises StoreFailed with what to do."""
    attempted = f"back up to {target}"
    with attempting(attempted):
        target, store = target.resolve(), store.resolve()
        if target == store or store in target.parents:
            raise StoreFailed(attempted, f"it lies in the data directory {store}; choose a place outside")
        if os.path.ismount(target):
            raise StoreFailed(attempted, "a file system is mounted there; name a new folder inside it")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise StoreFailed(attempted, "it is not empty; give each backup a new folder")
    return target


def back_up(source: Source, target: Path, transfer: Transfer) -> Manifest:
    """Copy the store into the folder `target`, which is new or empty; durable on return.

    Raises StorageError and leaves no trace then; after a kill -9 `<target>.partial` is left, which the next
    backup to that target takes away.
    """
    target = require_target(target, source.path)
    partial = target.with_name(target.name + _PARTIAL)
    with source.segments.kept(), _claimed(partial):
        manifest = _Run(source, partial, transfer).copy()
        manifest.save(partial)
        with attempting(f"rename {partial} to {target.name}"):
            partial.rename(target)
            (target / _LOCK).unlink()
            sync(target)
            sync(target.parent)
    return manifest


@contextmanager
def _claimed(partial: Path) -> Iterator[None]:
    """The folder, empty but for its lock; removed again if the block does not end well."""
    attempted = f"back up to {partial}"
    with attempting(attempted):
        if partial.exists() and not (partial / _LOCK).exists() and any(partial.iterdir()):
            raise StoreFailed(attempted, "it is in the way, and no backup left it; move it")
        make_folder(partial)
    lock = DirectoryLock(partial / _LOCK)
    try:
        with attempting(attempted):
            for left in partial.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != _LOCK:
                    left.unlink()
        yield
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        lock.release()


class _Run:
    """One backup being made."""

    def __init__(self, source: Source, partial: Path, transfer: Transfer) -> None:
        self._source = source
        self._folder = partial / FILES
        self._transfer = transfer
        shared = partial.stat().st_dev == source.path.stat().st_dev
        reserve_bytes = _RESERVE_BYTES + (source.free_bytes_min if shared else 0)
        self._space = Space(partial, reserve_bytes, f"back up to {partial.parent}")
        self._files: list[BackedUp] = []
        self._vanished: set[int] = set()
        """Segments that were quarantined while they were about to be taken."""

    def copy(self) -> Manifest:
        source, transfer = self._source, self._transfer
        began_ms = source.clock.wall_ms()
        tables = {"catalog": source.catalog, "scratch": source.scratch}
        transfer.total_bytes = sum(table.file_bytes for table in tables.values())
        transfer.total_bytes += source.segments.total_bytes
        for folder in (*tables, "wal"):
            with attempting(f"make {self._folder / folder}"):
                make_folder(self._folder / folder)
        for name, table in tables.items():
            transfer.doing = f"copying the {name}"
            place = f"{name}/data.mdb"
            self._add(place, table.copy(self._folder / place, transfer, self._space), "copied")
        heads = self._copy_wal()
        ended_ms = source.clock.wall_ms()
        with attempting(f"sync {self._folder}"):
            for name in (*tables, "wal", "."):
                sync(self._folder / name)
        files = tuple(self._files)
        missing = tuple(sorted(self._vanished.union(source.segments.missing)))
        return Manifest(source.identity, began_ms, ended_ms, heads, files, missing)

    def _copy_wal(self) -> dict[str, int]:
        """The segments of one moment; the last offsets in them."""
        *before, last = self._source.segments.listed
        for segment in before:
            self._take(segment)
            self._source.segments.let_go(segment)
        self._take(last)
        # Commits went on until its copy began: only reading the copy says where it ends, and that it is
        # sound.
        place = self._folder / "wal" / last.path.name
        index = verify_segment(place, last.number, frozenset(self._source.identity.ids))
        sidecar = place.with_suffix(".ids")
        if not sidecar.exists():
            with attempting(f"write {sidecar}"):
                index.save(sidecar)
                sync(sidecar)
            self._add(f"wal/{sidecar.name}", self._transfer.digest(sidecar), "copied")
        return index.heads()

    def _take(self, segment: Segment) -> None:
        self._transfer.doing = f"taking segment {segment.number}"
        place = f"wal/{segment.path.name}"
        if not segment.sealed:
            with self._source.segments.reading(segment) as environment:
                digest = self._transfer.copy_environment(environment, self._folder / place, self._space)
            self._add(place, digest, "copied")
            return
        with attempting(f"sync {segment.path}"), suppress(FileNotFoundError):
            # That it was cut to what it uses must not be undone by a power failure once its size is noted.
            sync(segment.path)
        if self._link(segment.path, place):
            # The sidecar is derived, and made again where it is missing.
            self._link(segment.sidecar, f"wal/{segment.sidecar.name}")
        else:
            self._vanished.add(segment.number)

    def _link(self, path: Path, name: str) -> bool:
        """Hard-link a file that never changes, or copy it; False if it is not there (any more)."""
        place = self._folder / name
        how: Literal["linked", "copied"] = "linked"
        with attempting(f"link {path} to {place}"):
            try:
                place.hardlink_to(path)
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno not in _UNLINKABLE:
                    raise
                how = "copied"
        if how == "linked":
            digest = self._transfer.digest(place)
        else:
            digest = self._transfer.copy(path, place, self._space)
        self._add(name, digest, how)
        return True

    def _add(self, name: str, digest: Digest, how: Literal["linked", "copied"]) -> None:
        self._files.append(BackedUp(name, digest.size_bytes, digest.checksum, how))
