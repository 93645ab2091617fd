"""The lock of a store's directory: one process at a time, taken before anything else is touched.

An flock: the kernel gives it back however the process dies. The descriptor is not inherited by children.
"""

import fcntl
import os
from pathlib import Path

from .disk import attempting
from .errors import StoreLocked


class DirectoryLock:
    """Held from construction to `release`. The file holds the pid of the holder, for people."""

    def __init__(self, path: Path) -> None:
        """Raises StoreLocked if another process, or another Store of this one, holds it."""
        with attempting(f"lock {path}"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(self._descriptor)
                raise StoreLocked(f"lock {path.parent}", f"process {holder} has it open") from error
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)
