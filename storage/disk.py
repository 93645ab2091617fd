"""Files that must be on disk when a call returns: synced writes, renames, directories."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StoreFailed, StoreFull

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_FULL_RETRY_S = 5.0


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
