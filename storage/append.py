"""One append: what it brings, and what became of it."""

from collections.abc import Callable, Sequence
from typing import Any

from .errors import StorageError
from .writer import Queued


class Append(Queued, gc=False):
    """Events of one stream that share a head. A `record.Submission`.

    Once it is settled: `duplicates` is how many of its events repeat one that is durable, or one before them
    in the same commit; `known` is whether all of them repeat durable ones, so that no commit can fail them.
    """

    stream: str
    head: bytes
    items: Sequence[Any]
    ids: Sequence[int]
    body_bytes: int
    call: "Callable[[Append], object] | None" = None
    duplicates: int = 0
    known: bool = False

    @property
    def accepted(self) -> int:
        """Events that were new. If they are not stored, `error` says why."""
        return len(self.items) - self.duplicates

    def settle(self, error: StorageError | None) -> None:
        """Tell the caller of `Wal.append`, then those who wait."""
        self.error = None if self.known else error
        try:
            if self.call is not None:
                self.call(self)
        finally:
            Queued.settle(self, self.error)
