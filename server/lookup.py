"""Where is my event? From a messageId to what the WAL holds of it and what each link did with it.

Reads only; the blocking parts run in threads. The answer states its horizon: events committed before it may
have been trimmed.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from server.ingest import message_hash, restore, stream_seed
from server.outbound import Outbound
from storage import StoredEvent, Wal


class EventLookup:
    """Answers for admins. `streams()` are the streams that the configuration knows now."""

    def __init__(self, wal: Wal, outbound: Outbound, streams: Callable[[], Iterable[str]]) -> None:
        self._wal = wal
        self._outbound = outbound
        self._streams = streams

    async def find(self, message_id: str) -> dict[str, object]:
        """Every retained event with this messageId (one per stream, more if a repeat came after the dedupe
        window).
        """
        events = await asyncio.to_thread(
            lambda: [self._described(stored) for stored in self._located(message_id)]
        )
        return {"messageId": message_id, "events": events, "horizon": self._horizon()}

    async def tail(self, stream: str | None, limit: int) -> dict[str, object]:
        """The newest `limit` events of a stream, or of all streams, oldest first."""
        events = await asyncio.to_thread(
            lambda: [self._described(stored) for stored in self._wal.tail(stream, limit)]
        )
        return {"events": events, "horizon": self._horizon()}

    def _located(self, message_id: str) -> list[StoredEvent]:
        found = []
        for stream in self._streams():
            for position in self._wal.locate(message_hash(stream_seed(stream), message_id)):
                stored = self._wal.get(position)
                # 64-bit hashes may collide: the event itself decides.
                if stored is not None and restore(stored.head, stored.item).get("messageId") == message_id:
                    found.append(stored)
        return found

    def _described(self, stored: StoredEvent) -> dict[str, object]:
        event = restore(stored.head, stored.item)
        outcomes = self._outbound.link_outcome(stored.stream, stored.offset)
        return {
            "messageId": event.get("messageId"),
            "type": event.get("type"),
            "event": event.get("event"),
            "stream": stored.stream,
            "offset": stored.offset,
            "acceptedAt": iso_time(stored.committed_ms),
            "links": [
                {"link": outcome.link_id, "state": outcome.fate.value, "reason": outcome.reason}
                for outcome in outcomes
            ],
        }

    def _horizon(self) -> dict[str, object]:
        oldest_ms = self._wal.stats().oldest_ms
        return {"since": iso_time(oldest_ms) if oldest_ms else None}


def iso_time(wall_ms: int) -> str:
    """A wall time as ISO 8601 in UTC, to the millisecond."""
    return (
        datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
