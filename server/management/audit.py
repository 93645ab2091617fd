"""The audit log: who changed what and when, with what it was before and is after; secrets masked.

An entry is written together with its change, in one catalog write. The log is bounded: the oldest entries
leave with the write that would go beyond it. Event-loop thread.
"""

from collections import deque
from collections.abc import Mapping
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
class AuditEntry:
    """One change. `number` grows; `who` is the id of an API key. Before a creation and after a deletion there
    is nothing.
    """

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
        self._sizes: deque[tuple[bytes, int]] = deque()
        self._size_bytes = 0
        after: bytes | None = None
        while page := catalog.scan(_TABLE, after=after, limit=_SCAN_ENTRIES):
            for key, value in page:
                self._remember(key, len(value))
            after = page[-1][0]

    def entry(
        self,
        who: str,
        action: str,
        kind: str,
        id_: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> list[Put | Delete]:
        """What is to be written with the change for it to be in the log. Secrets are masked here."""
        number = max(self._clock.wall_ms() * 1000, self._last() + 1)
        fields = (self._clock.wall_ms(), who, action, kind, id_, masked(before), masked(after))
        value = orjson.dumps(fields)
        key = number.to_bytes(8, "big")
        self._remember(key, len(value))
        ops: list[Put | Delete] = [Put(_TABLE, key, value)]
        while self._size_bytes > self._bytes_max and len(self._sizes) > 1:
            oldest, size_bytes = self._sizes.popleft()
            self._size_bytes -= size_bytes
            ops.append(Delete(_TABLE, oldest))
        return ops

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

    def _last(self) -> int:
        return int.from_bytes(self._sizes[-1][0], "big") if self._sizes else 0

    def _remember(self, key: bytes, size_bytes: int) -> None:
        self._sizes.append((key, size_bytes))
        self._size_bytes += size_bytes
