"""Moves the bytes of files in slices: checksums and copies that rest in between, report and can be stopped.

A server that is taking events fsyncs its log all the time: so what is copied here is synced every few MiB (a
pile of dirty pages would stand before those fsyncs), and after each piece of work the thread rests. Thread:
whoever transfers; the counters are read, and `stop` called, from any.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from xxhash import xxh3_128

from .disk import Space, attempting
from .environment import Environment
from .errors import StorageError, StoreFailed

SLICE_BYTES: Final = 1024 * 1024
_SYNC_BYTES: Final = 4 * SLICE_BYTES
_WORK_S: Final = 0.002
"""Work of less than this is not worth a rest of its own."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file holds: its size, and its xxh3_128 in hex."""

    size_bytes: int
    checksum: str


class Transfer:
    """One run of transfers. `rest_ratio`: seconds of rest for each second of work; 0 = none."""

    def __init__(self, rest_ratio: float = 0.0) -> None:
        self.doing = "starting"
        self.done_bytes = 0
        self.total_bytes = 0
        """What `done_bytes` will be at the end, as far as known; 0 = not yet."""
        self._rest_ratio = rest_ratio
        self._worked_s = 0.0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """The transfer ends with StoreFailed at its next slice."""
        self._stopped.set()

    def digest(self, path: Path) -> Digest:
        """Size and checksum of a file. Raises StorageError."""
        with attempting(f"read {path}"), path.open("rb", buffering=0) as file:
            return self._slices(file.fileno(), lambda _piece: None)

    def copy(self, source: Path, target: Path, space: Space) -> Digest:
        """Copy a file to a new one, durable on return. Raises StorageError."""
        with attempting(f"copy {source} to {target}"), source.open("rb", buffering=0) as file:
            return self._write(file.fileno(), target, space)

    def copy_environment(self, source: Environment, target: Path, space: Space) -> Digest:
        """Copy an environment that is open, and may be written meanwhile, as it is at one moment; durable on
        return. Raises StorageError.

        LMDB writes into a pipe in a thread, so that this side sets the pace. It keeps a read transaction so
        long: pages that are freed meanwhile are not used again until it ends.
        """
        failed: list[StorageError] = []
        with attempting(f"copy {source.path} to {target}"):
            reading, writing = os.pipe()
            thread = threading.Thread(target=_pour, args=(source, writing, failed), name="penstock-copy")
            thread.start()
            try:
                digest = self._write(reading, target, space)
            finally:
                os.close(reading)
                thread.join()
        if failed:
            raise failed[0]
        return digest

    def _write(self, source: int, target: Path, space: Space) -> Digest:
        unsynced = 0
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

        def write(piece: bytes) -> None:
            nonlocal unsynced
            space.demand(len(piece))
            _write_all(descriptor, piece)
            unsynced += len(piece)
            if unsynced >= _SYNC_BYTES:
                os.fsync(descriptor)
                unsynced = 0

        try:
            digest = self._slices(source, write)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return digest

    def _slices(self, source: int, take: Callable[[bytes], None]) -> Digest:
        hasher = xxh3_128()
        size_bytes = 0
        while True:
            began_s = perf_counter()
            piece = os.read(source, SLICE_BYTES)
            if not piece:
                return Digest(size_bytes, hasher.hexdigest())
            hasher.update(piece)
            take(piece)
            size_bytes += len(piece)
            self.done_bytes += len(piece)
            self._rest(perf_counter() - began_s)

    def _rest(self, worked_s: float) -> None:
        self._worked_s += worked_s
        rest_s = 0.0
        if self._worked_s >= _WORK_S:
            rest_s, self._worked_s = self._worked_s * self._rest_ratio, 0.0
        if self._stopped.is_set() or (rest_s and self._stopped.wait(rest_s)):
            raise StoreFailed(self.doing, "it was stopped")


def _pour(source: Environment, writing: int, failed: list[StorageError]) -> None:
    try:
        source.pour(writing)
    except StorageError as error:
        failed.append(error)
    finally:
        os.close(writing)


def _write_all(descriptor: int, piece: bytes) -> None:
    written = os.write(descriptor, piece)
    while written < len(piece):
        written += os.write(descriptor, piece[written:])
