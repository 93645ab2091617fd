"""The file of the next segment, made ahead: behind its meta pages lie zeros that are on the disk already.

fdatasync of a file that grows waits for the journal of the file system, and so for whatever else writes there
(a Postgres); where pages lie already, it waits for those pages alone. LMDB takes none but an empty file for a
new one and cares for nothing behind its last page: so it makes the environment, and the zeros are appended.
A blank is a saving and no more: where room is scarce, the segment small, or anything fails, there is none and
the segment grows while it is written. Its name ends in `.tmp`: after a kill the next open takes it away.
Threads: `want` and `take` on the writer, `give_way` on any. Each blank has a thread that makes it, slowly,
and removes it unless it was taken. No byte is written here into a file that holds events.
"""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Final

from .disk import Space, attempting
from .environment import Environment
from .errors import StorageError

_log: Final = logging.getLogger("penstock.storage")
_SEGMENT_BYTES_MIN: Final = 4 * 1024 * 1024
"""Smaller segments come and go faster than blanks are made."""
_USED_BYTES: Final = 1024 * 1024
"""A store that takes little has no blank: so much of a segment is used before the next is worth it."""
_SLICE_BYTES: Final = 256 * 1024
_REST_S: Final = 0.004
_REST_RATIO: Final = 3.0
"""Rest after each slice, in times of the work: at most 60 MB/s, and a quarter of what the disk can do."""
_ZEROS: Final = bytes(_SLICE_BYTES)


class Blank:
    """At most one at a time. `ready` says that `take` will give it away."""

    def __init__(self, folder: Path, segment_bytes: int, free_bytes_min: int) -> None:
        """None is made unless `free_bytes_min` and two segments stay free."""
        self.ready = False
        self._path = folder / "blank.tmp"
        self._segment_bytes = segment_bytes
        self._scarce_bytes = free_bytes_min + segment_bytes
        self._space = Space(folder, self._scarce_bytes + segment_bytes, "make a blank segment")
        self._changed = threading.Condition()
        self._over = False
        self._thread: threading.Thread | None = None

    def want(self, used_bytes: int) -> None:
        """Begin to make one, once for each segment, if so much of the one in use makes it worth it."""
        if self._thread is None and used_bytes >= _USED_BYTES and self._segment_bytes >= _SEGMENT_BYTES_MIN:
            self._over = False
            thread = threading.Thread(target=self._live, name="penstock-blank", daemon=True)
            with suppress(RuntimeError):
                # The system has no thread to give: asked again at the next commit.
                thread.start()
                self._thread = thread

    def take(self, path: Path) -> bool:
        """Move it to `path`, which is not there; False if it is not ready. Durable with the folder."""
        with self._changed:
            if self._thread is None or not (self.ready or self._over):
                return False
            taken = False
            if self.ready:
                with suppress(OSError):
                    self._path.replace(path)
                    taken = True
        self.close()
        return taken

    def give_way(self, free_bytes: int) -> None:
        """Give it up if a disk with so much free is about to run out. Does not wait."""
        if free_bytes < self._scarce_bytes:
            self._end()

    def close(self) -> None:
        """Stop, and remove what was not taken."""
        self._end()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self.ready = False
            self._changed.notify_all()

    def _live(self) -> None:
        try:
            with attempting(f"write {self._path.name}"):
                self._make()
        except StorageError as error:
            _log.info("no segment is made ahead: %s", error)
            self._end()
        with self._changed:
            self.ready = not self._over
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _make(self) -> None:
        self._path.unlink(missing_ok=True)
        Environment(self._path, self._segment_bytes, writable=True, shared=False).close()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            size_bytes = os.fstat(descriptor).st_size
            while size_bytes < self._segment_bytes and not self._over:
                began_s = perf_counter()
                self._space.demand(_SLICE_BYTES)
                size_bytes += os.write(descriptor, _ZEROS[: self._segment_bytes - size_bytes])
                os.fdatasync(descriptor)
                self._rest(perf_counter() - began_s)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rest(self, worked_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._over, max(_REST_S, worked_s * _REST_RATIO))
