"""Named tables of small records in one LMDB environment: the catalog, and the scratch store.

Writes are atomic per call and joined into group commits on a writer thread of their own, so that their fsyncs
never stand in front of ingest. Reads are short transactions on the calling thread. Which tables exist is
known at open and changes on the writer thread only, so readers never open a table beside a write transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .disk import Space, attempting, make_folder
from .environment import KEY_BYTES_MAX, Environment, Table, create_environment
from .errors import StoreFull
from .poison import Poison
from .transfer import Digest, Transfer
from .writer import GroupWriter, Queued

_TABLES_MAX: Final = 64
_COMMIT_BYTES_MAX: Final = 8 * 1024 * 1024
_PENDING_BYTES_MAX: Final = 32 * 1024 * 1024
_RECORD_OVERHEAD_BYTES: Final = 64
_RESERVE_BYTES: Final = 16 * 1024 * 1024
"""Beyond the quota, for writes that add no key: checkpoints move on when dead letters have filled it."""
_MAP_SLACK: Final = 2
"""Map bytes per byte of quota: pages of deleted records are reused, but not all at once."""
_MAP_EXTRA_BYTES: Final = 64 * 1024 * 1024
_SPACE_PER_BYTE: Final = 2
_SPACE_RESERVE_BYTES: Final = 1024 * 1024
"""Free disk that a commit wants per byte, and beyond."""
_FULL_RETRY_S: Final = 30.0
_BUSY_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Put:
    """Set a key, 1 to 511 bytes, to a value."""

    table: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; a missing one is no error."""

    table: str
    key: bytes


class _Write(Queued):
    """What one call writes, in order."""

    ops: Sequence[Put | Delete]


class TableEnv:
    """Tables bounded by `bytes_max` together: beyond it new keys are refused; deletes, and new values of keys
    that are there, still work.
    """

    def __init__(self, folder: Path, name: str, bytes_max: int, poison: Poison) -> None:
        self._name = name
        self._bytes_max = bytes_max
        map_bytes = _MAP_SLACK * bytes_max + _MAP_EXTRA_BYTES
        with attempting(f"make {folder}"):
            make_folder(folder)
            if not (folder / "data.mdb").exists():
                create_environment(folder / "data.mdb", map_bytes, [])
        self._environment = Environment(
            folder, map_bytes, writable=True, shared=True, folder=True, tables_max=_TABLES_MAX
        )
        self._space = Space(folder, _SPACE_RESERVE_BYTES)
        self._tables: dict[str, Table] = self._environment.tables()
        self._writer: GroupWriter[_Write] = GroupWriter(name, _COMMIT_BYTES_MAX, self._perform, poison)

    def get(self, table: str, key: bytes) -> bytes | None:
        """The durable value of a key. Blocking, but short."""
        handle = self._tables.get(table)
        return None if handle is None else self._environment.get(key, handle)

    def scan(
        self,
        table: str,
        prefix: bytes = b"",
        after: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """Pairs with `prefix` in key order (or against it), strictly behind `after` in that direction.
        Blocking.
        """
        handle = self._tables.get(table)
        return [] if handle is None else self._environment.scan(handle, prefix, after, limit, reverse)

    def copy(self, target: Path, transfer: Transfer, space: Space) -> Digest:
        """Copy the environment as it is at one moment to a new file. Blocking; raises StorageError."""
        return transfer.copy_environment(self._environment, target, space)

    @property
    def file_bytes(self) -> int:
        """Bytes that a copy has, free pages included."""
        return self._environment.end_bytes

    @property
    def used_bytes(self) -> int:
        """Bytes that the tables occupy now."""
        return self._environment.table_bytes(self._tables.values())

    async def write(self, ops: Sequence[Put | Delete]) -> None:
        """Apply all of `ops` or none; durable on return.

        Raises StoreFull, StorePoisoned, StoreClosed, and ValueError for a key that cannot be stored.
        """
        if not ops:
            return
        size_bytes = sum(map(_size_bytes, ops))
        if self._writer.refusal is not None:
            raise self._writer.refusal.with_traceback(None)
        if self._writer.pending_bytes + size_bytes > _PENDING_BYTES_MAX:
            raise StoreFull(f"write to the {self._name}", "too much waits for the disk", _BUSY_RETRY_S)
        if any(isinstance(op, Put) for op in ops):
            self._check_quota(ops, size_bytes)
        write = _Write(ops, size_bytes=size_bytes)
        self._writer.put(write)
        await write.durable()

    def close(self, timeout_s: float) -> bool:
        """Make what is queued durable and close; False if that took longer than `timeout_s`."""
        if not self._writer.stop(timeout_s):
            return False
        self._environment.close()
        return True

    def _check_quota(self, ops: Sequence[Put | Delete], size_bytes: int) -> None:
        """Refuse puts here, before they join deletes that would make room."""
        over_bytes = self.used_bytes + self._writer.pending_bytes + size_bytes - self._bytes_max
        if over_bytes > 0 and (over_bytes > _RESERVE_BYTES or self._adds_keys(ops)):
            hint = f"its tables may hold {self._bytes_max} bytes; delete something or raise the limit"
            raise StoreFull(f"write to the {self._name}", hint, _FULL_RETRY_S)

    def _adds_keys(self, ops: Sequence[Put | Delete]) -> bool:
        return any(isinstance(op, Put) and self.get(op.table, op.key) is None for op in ops)

    def _perform(self, writes: list[_Write], size_bytes: int) -> None:
        ops = [op for write in writes for op in write.ops]
        # Small records far apart copy a page each, though never more than there are.
        pages_bytes = min(len(ops) * self._environment.page_bytes, self._environment.end_bytes)
        self._space.demand(_SPACE_PER_BYTE * size_bytes + pages_bytes)
        for op in ops:
            if op.table not in self._tables:
                self._tables = self._tables | {op.table: self._environment.create_table(op.table)}
        self._environment.apply(
            [(self._tables[op.table], op.key, op.value if isinstance(op, Put) else None) for op in ops]
        )


def _size_bytes(op: Put | Delete) -> int:
    """Bytes that count for the bounds. Raises ValueError for a key that LMDB cannot store."""
    if not 0 < len(op.key) <= KEY_BYTES_MAX:
        raise ValueError(f"a key has 1 to {KEY_BYTES_MAX} bytes, not {len(op.key)}")
    return len(op.key) + _RECORD_OVERHEAD_BYTES + (len(op.value) if isinstance(op, Put) else 0)
