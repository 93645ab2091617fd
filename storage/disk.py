"""Files that must be on disk when a call returns: synced writes, renames, directories."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StoreFailed, StoreFull

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_FULL_RETRY_S = 5.0


class Space:
    """Asked before a commit: on a full disk LMDB turns a short write into EIO, and then what is durable is
    unknown. The reserve is for what others write at that moment, and for what a commit writes beside its
    pages. Any thread.
    """

    def __init__(self, path: Path, reserve_bytes: int, attempted: str | None = None) -> None:
        """`attempted`: what the space is for, in words; by default a commit."""
        self._path = path
        self._attempted = attempted or f"commit to {path.name}"
        self.reserve_bytes = reserve_bytes

    def demand(self, size_bytes: int) -> None:
        """Raise StoreFull unless `size_bytes` and the reserve are free; 2 us."""
        space = os.statvfs(self._path)
        needed_bytes = size_bytes + self.reserve_bytes
        # A file system that does not know its size (tmpfs without one) has 0 blocks.
        free_bytes = space.f_bavail * space.f_frsize
        if space.f_blocks and free_bytes < needed_bytes:
            hint = f"{free_bytes} bytes are free on the disk, this takes {needed_bytes}; make room"
            raise StoreFull(self._attempted, hint, _FULL_RETRY_S)


@contextmanager
def attempting(attempted: str) -> Iterator[None]:
    """OSError becomes StoreFull where the disk has no room, else StoreFailed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_ERRNOS:
            raise StoreFull(attempted, f"there is no room: {error}", _FULL_RETRY_S) from error
        raise StoreFailed(attempted, str(error)) from error


def sync(path: Path) -> None:
    """fsync a file or a directory, whoever wrote to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def shorten(path: Path, size_bytes: int) -> None:
    """Cut a file that is longer. Not synced: after a power failure it may have its former length."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        if os.fstat(descriptor).st_size > size_bytes:
            os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably, unless they are there."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file whole: under a temporary name, synced, renamed, its directory synced."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync(path.parent)


def remove_durably(path: Path) -> None:
    """Unlink a file, if it is there, and sync its directory."""
    path.unlink(missing_ok=True)
    sync(path.parent)
