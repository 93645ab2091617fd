"""Where a link begins that was never seen before: its `startFrom`. Blocking, short reads of the WAL: for a
thread. Raises StorageError if the WAL cannot be read.

The answer becomes the `begin` of the link's checkpoint, durably, before the link does anything else: "now" is
the moment of the first start, not of the first time that the destination answers.
"""

from typing import Literal

from storage import Wal

StartFrom = Literal["oldest", "now"] | int
"""The oldest event that is retained, the next one to come, or the first one committed at or after a wall time
in milliseconds; a time to come is now.
"""


def start_offset(wal: Wal, stream_id: str, start_from: StartFrom) -> int:
    """The offset behind which the link begins: nothing at or before it is its own."""
    head, first = wal.head(stream_id), wal.first(stream_id)
    oldest = head if first is None else first - 1
    if start_from == "now":
        return head
    if start_from == "oldest":
        return oldest
    low, high = oldest, head  # up to low everything is earlier, behind high nothing is
    while low < high:
        middle = (low + high) // 2
        offset, committed_ms = _first_behind(wal, stream_id, middle)
        if offset is None or committed_ms >= start_from:
            high = middle
        else:
            low = offset
    return low


def _first_behind(wal: Wal, stream_id: str, after: int) -> tuple[int | None, int]:
    """Offset and time of the first readable event behind `after`; None at the end."""
    while True:
        chunk = wal.read(stream_id, after, bytes_max=1, events_max=1)
        if chunk.groups:
            return chunk.groups[0].first_offset, chunk.groups[0].committed_ms
        if chunk.last <= after:
            return None, 0
        after = chunk.last
