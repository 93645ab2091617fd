"""One append: what it brings, and what became of it."""

from collections.abc import Sequence
from typing import Any

from .errors import StorageError
from .writer import Queued


class Append(Queued):
    """Events of one stream that share a head, for `Wal.append`. A `record.Submission`.

    One u64 hash per item. Items may be any buffers; they are read until the append is settled, so do not
    change them. Wait with `durable`, or override `settle`. Then `duplicates` is how many of the events repeat
    one that is durable, or one before them in the same commit; `known` is whether all of them repeat durable
    ones, so that no commit can fail them.
    """

    stream: str
    head: bytes
    items: Sequence[Any]
    ids: Sequence[int]
    body_bytes: int = 0
    """Of a block; with `size_bytes` set by `Wal.append`."""
    duplicates: int = 0
    known: bool = False

    @property
    def accepted(self) -> int:
        """Events that were new. If they are not stored, `error` says why."""
        return len(self.items) - self.duplicates

    def settle(self, error: StorageError | None) -> None:
        """They are durable, or not for `error`; on the writer's thread, once. Short, and raises nothing."""
        Queued.settle(self, None if self.known else error)
