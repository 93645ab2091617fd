"""What the lane appends: counted and, if it is a plain request, answered as soon as it is durable.

Settled on the thread of the WAL's writer, which alone writes what is counted here.
"""

from typing import Protocol

from server.counters import IngestCounters
from server.routes.family import IngestRoute
from server.routes.rsgi import AnswerHeaders, Transport
from storage import Append, StorageError


class Failed(Protocol):
    """Answers a plain request whose events are not stored."""

    def failed(self, append: "PlainAppend", error: StorageError) -> None: ...


class CountedAppend(Append, kw_only=True):
    """The events of a request that waits for them."""

    counters: IngestCounters

    def settle(self, error: StorageError | None) -> None:
        """Count, then tell who waits."""
        if error is None or self.known:
            self.count()
        Append.settle(self, error)

    def count(self) -> None:
        """Count what is durable."""
        counters = self.counters
        counters.accepted[self.stream] += len(self.items) - self.duplicates
        if self.duplicates:
            counters.dropped[self.stream, "duplicate"] += self.duplicates


class PlainAppend(CountedAppend, kw_only=True, gc=False):
    """The events of a plain request, whose answer is `success`. `declared` bytes are held for its body.

    Nobody awaits it: a turn of the loop for each answer took as long as the answer. So it is in no cycle, and
    the collector need not know it.
    """

    lane: Failed
    route: IngestRoute
    origin: str | None
    transport: Transport
    declared: int
    headers: AnswerHeaders
    success: bytes

    def settle(self, error: StorageError | None) -> None:
        """Count and answer."""
        self.counters.settled_bytes += self.declared
        if error is None or self.known:
            self.count()
            self.transport.response_bytes(200, self.headers, self.success)
        else:
            self.lane.failed(self, error)
