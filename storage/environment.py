"""One LMDB environment. The only file that imports lmdb; its errors leave here as StorageError.

Always in the default sync mode: a commit returns after fdatasync of its pages and a synchronous write of the
meta page. py-lmdb drops and retakes the GIL at each begin, put and commit, so a write is kept to those.
Threads: one thread writes; any thread reads, in transactions that end before the call returns. close() must
not run beside any other call (segments.py counts users).
"""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, Self

import lmdb

from .disk import sync
from .errors import StorageError, StoreDamaged, StoreFailed, StoreFull

_FULL_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT)
_DAMAGE: Final = (
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
)
_META: Final = Struct("<4xI8xQI92xQ")
"""Of a meta page: format version, map bytes, page bytes, last page."""
_META_AT: Final = 16
_META_VERSION: Final = 1
_PAGE_BYTES: Final = tuple(1 << bits for bits in range(9, 17))
_FULL_RETRY_S: Final = 5.0
KEY_BYTES_MAX: Final = 511
_READ_MAP_BYTES: Final = 1024 * 1024

Table = Any
"""Handle of a named table (lmdb keeps the type private)."""


def is_garbled(path: Path) -> bool:
    """Whether the two meta pages contradict themselves or each other. Raises OSError.

    LMDB believes them, and fails in words for the system's failures (no memory, another version). That both
    name another format is no contradiction: a newer release wrote them.
    """
    with path.open("rb") as file:
        raw = file.read(2 * _PAGE_BYTES[-1])
    try:
        version, map_bytes, page_bytes, last_page = _META.unpack_from(raw, _META_AT)
        if page_bytes not in _PAGE_BYTES:
            return True
        others = _META.unpack_from(raw, page_bytes + _META_AT)
    except struct_error:
        return True
    if version != others[0] or version != _META_VERSION:
        return bool(version != others[0])
    end_bytes = (max(last_page, others[3]) + 1) * page_bytes
    return bool(others[2] != page_bytes or end_bytes > min(map_bytes, others[1]))


def library_folder() -> str:
    """The folder to put on sys.path where lmdb can be imported."""
    return str(Path(lmdb.__file__).parent.parent)


def _translate(error: lmdb.Error, attempted: str) -> StorageError:
    code = getattr(error, "code", 0)
    if isinstance(error, lmdb.MapFullError) or code in _FULL_ERRNOS:
        return StoreFull(attempted, f"there is no room: {error}", _FULL_RETRY_S)
    if isinstance(error, _DAMAGE):
        return StoreDamaged(attempted, f"the file is damaged: {error}")
    return StoreFailed(attempted, f"{error}; check the disk and the kernel log")


@contextmanager
def _translated(attempted: str) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise _translate(error, attempted) from error


def create_environment(
    path: Path,
    map_bytes: int,
    pairs: Sequence[tuple[bytes, bytes]],
    begin: Callable[[Path], object] = lambda _path: None,
) -> None:
    """Make the file of an environment that holds `pairs`, whole and durable under its name, or not at all.

    `begin` may put an environment without a record at the path that it is given. LMDB itself leaves the first
    pages of a new file unsynced until the first commit: a power failure could leave a file that it then
    refuses to open.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    begin(temporary)
    environment = Environment(temporary, map_bytes, writable=True, shared=False)
    try:
        environment.put_all(pairs)
    finally:
        environment.close()
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


class Environment:
    """An open environment. Every method raises StorageError."""

    def __init__(
        self,
        path: Path,
        map_bytes: int = _READ_MAP_BYTES,
        *,
        writable: bool,
        shared: bool,
        folder: bool = False,
        tables_max: int = 0,
    ) -> None:
        """`shared` makes a lock file, needed while a thread writes. A read-only map grows to the file."""
        self.path = path
        with _translated(f"open {path.name}"):
            self._env = lmdb.open(
                str(path),
                map_size=map_bytes,
                subdir=folder,
                readonly=not writable,
                create=writable,
                lock=shared,
                max_dbs=tables_max,
                mode=0o600,
            )
        self._page_bytes = self._env.stat()["psize"]
        self.map_bytes = map_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap and close the file."""
        self._env.close()

    @property
    def page_bytes(self) -> int:
        """Bytes of a page."""
        return self._page_bytes

    @property
    def end_bytes(self) -> int:
        """Bytes up to the last page ever used: what the file occupies of its map."""
        return (self._env.info()["last_pgno"] + 1) * self._page_bytes

    def put_all(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """One durable transaction. Nothing is stored if it raises."""
        with _translated(f"commit to {self.path.name}"):
            txn = self._env.begin(write=True)
            try:
                for key, value in pairs:
                    txn.put(key, value)
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    def pour(self, descriptor: int) -> None:
        """Write all of it, as it is at one moment, to a descriptor. Blocking, without the GIL; writers wait
        for the first two pages only, but cannot reuse pages until it ends.
        """
        with _translated(f"copy {self.path.name}"):
            self._env.copyfd(descriptor)

    def get(self, key: bytes, table: Table | None = None) -> bytes | None:
        """The value, copied out."""
        with _translated(f"read {self.path.name}"), self._env.begin(db=table) as txn:
            return txn.get(key)

    def walk(self, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, memoryview]]:
        """Keys and values with `prefix` from the last key ≤ `start` on, in order, in one read transaction.

        A value is memory of the transaction: it is gone once the iterator moves on or is closed.
        """
        with _translated(f"read {self.path.name}"), self._env.begin(buffers=True) as txn:
            cursor = txn.cursor()
            found = cursor.set_range(start or prefix) if start or prefix else cursor.first()
            if start and (not found or bytes(cursor.key()) != start):
                found = (cursor.prev() if found else cursor.last()) and bytes(cursor.key()).startswith(prefix)
                found = found or cursor.set_range(start)
            while found:
                key = bytes(cursor.key())
                if not key.startswith(prefix):
                    return
                yield key, cursor.value()
                found = cursor.next()

    def tables(self) -> dict[str, Table]:
        """The named tables that exist, opened."""
        with _translated(f"open the tables of {self.path.name}"):
            with self._env.begin() as txn:
                names = [bytes(name) for name, _ in txn.cursor()]
            return {name.decode(): self._env.open_db(name, create=False) for name in names}

    def create_table(self, name: str) -> Table:
        """A new named table, durable on return. Only on the writing thread."""
        with _translated(f"create table {name} in {self.path.name}"):
            return self._env.open_db(name.encode())

    def apply(self, changes: Sequence[tuple[Table, bytes, bytes | None]]) -> None:
        """One durable transaction of puts, and deletes where the value is None."""
        with _translated(f"commit to {self.path.name}"):
            txn = self._env.begin(write=True)
            try:
                for table, key, value in changes:
                    if value is None:
                        txn.delete(key, db=table)
                    else:
                        txn.put(key, value, db=table)
                txn.commit()
            except BaseException:
                txn.abort()
                raise

    def table_bytes(self, tables: Iterable[Table]) -> int:
        """Bytes of the pages that hold these tables now."""
        pages = 0
        with _translated(f"measure {self.path.name}"), self._env.begin() as txn:
            for table in tables:
                stat = txn.stat(table)
                pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return pages * self._page_bytes

    def scan(
        self, table: Table, prefix: bytes, after: bytes | None, limit: int | None, reverse: bool
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs with `prefix`, strictly behind `after` in the direction of the scan."""
        found: list[tuple[bytes, bytes]] = []
        with _translated(f"read {self.path.name}"), self._env.begin(db=table) as txn:
            cursor = txn.cursor()
            step = cursor.prev if reverse else cursor.next
            more = _seek_back(cursor, prefix, after) if reverse else _seek(cursor, prefix, after)
            while more and (limit is None or len(found) < limit):
                key, value = cursor.item()
                if not key.startswith(prefix):
                    break
                found.append((key, value))
                more = step()
        return found


def _seek(cursor: "lmdb.Cursor[bytes]", prefix: bytes, after: bytes | None) -> bool:
    if after is None or after < prefix:
        return cursor.set_range(prefix) if prefix else cursor.first()
    found = cursor.set_range(after)
    return cursor.next() if found and cursor.key() == after else found


def _seek_back(cursor: "lmdb.Cursor[bytes]", prefix: bytes, after: bytes | None) -> bool:
    """To the last key below `after`, or the last with `prefix`."""
    bound = _behind(prefix)
    if after is not None and (bound is None or after < bound):
        bound = after
    if bound is None:
        return cursor.last()
    return cursor.prev() if cursor.set_range(bound) else cursor.last()


def _behind(prefix: bytes) -> bytes | None:
    """The least key above every key with `prefix`; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
