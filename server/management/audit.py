"""The audit log: who changed what and when, with what it was before and is after; secrets masked.

An entry is written together with its change, in one catalog write, and counts once that is durable. The log
is bounded: the oldest entries leave with the write that would go beyond it. Event-loop thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from server.management.secrets import masked
from storage import Clock, Delete, Put, TableEnv

_TABLE: Final = "audit"
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
_PAGE_BYTES: Final = 4 * 1024 * 1024
_STEP_ENTRIES: Final = 16
_SCAN_ENTRIES: Final = 100


@dataclass(frozen=True, slots=True)
class Act:
    """One change as it is made. `who` is the id of an API key. Before a creation and after a deletion there
    is nothing.
    """

    who: str
    action: str
    kind: str
    id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change as it was made, secrets masked. `number` grows."""

    number: int
    at_ms: int
    who: str
    action: str
    kind: str
    id: str
    before: Any
    after: Any


class Audit:
    """Reads the sizes of what is there when it is made: blocking, tens of milliseconds at most."""

    def __init__(self, catalog: TableEnv, clock: Clock, bytes_max: int = LOG_BYTES_MAX) -> None:
        self._catalog = catalog
        self._clock = clock
        self._bytes_max = bytes_max
        self._sizes: dict[bytes, int] = {}
        """Of what is durable, the oldest first."""
        self._size_bytes = 0
        self._number = 0
        after: bytes | None = None
        while page := catalog.scan(_TABLE, after=after, limit=_SCAN_ENTRIES):
            for key, value in page:
                self._remember(key, len(value))
            after = page[-1][0]
        if after is not None:
            self._number = int.from_bytes(after, "big")

    async def write(self, ops: Sequence[Put | Delete], acts: Sequence[Act]) -> None:
        """Write a change and what is to be said of it, both or neither; secrets are masked here. Durable on
        return; raises StorageError.
        """
        now_ms = self._clock.wall_ms()
        entries: list[tuple[bytes, bytes]] = []
        for act in acts:
            self._number = max(now_ms * 1000, self._number + 1)
            fields = (now_ms, act.who, act.action, act.kind, act.id, masked(act.before), masked(act.after))
            entries.append((self._number.to_bytes(8, "big"), orjson.dumps(fields)))
        old = self._beyond_bound(sum(len(value) for _, value in entries))
        gone = [Delete(_TABLE, key) for key in old]
        await self._catalog.write([*ops, *(Put(_TABLE, key, value) for key, value in entries), *gone])
        for key, value in entries:
            self._remember(key, len(value))
        for key in old:
            self._size_bytes -= self._sizes.pop(key, 0)

    def read(self, before: int | None, limit: int) -> list[AuditEntry]:
        """The newest first, those with a lesser number than `before`; fewer than `limit` if they are large
        (a page has about 4 MiB). Blocking, but short.
        """
        key = None if before is None else before.to_bytes(8, "big")
        found: list[tuple[bytes, bytes]] = []
        while len(found) < limit and sum(len(value) for _, value in found) < _PAGE_BYTES:
            step = min(_STEP_ENTRIES, limit - len(found))
            more = self._catalog.scan(_TABLE, after=key, limit=step, reverse=True)
            if not more:
                break
            found += more
            key = more[-1][0]
        return [AuditEntry(int.from_bytes(key, "big"), *orjson.loads(value)) for key, value in found]

    def _beyond_bound(self, more_bytes: int) -> list[bytes]:
        """The oldest entries, which must go for so many bytes to come."""
        found: list[bytes] = []
        size_bytes = self._size_bytes + more_bytes
        for key, entry_bytes in self._sizes.items():
            if size_bytes <= self._bytes_max:
                break
            found.append(key)
            size_bytes -= entry_bytes
        return found

    def _remember(self, key: bytes, size_bytes: int) -> None:
        self._sizes[key] = size_bytes
        self._size_bytes += size_bytes
