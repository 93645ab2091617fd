"""A process that appends events, and records each once it was told that they are durable.

Arguments: a folder, bytes of a segment.
Event number i is in stream i % 2 with id hash i; its bytes are `event_bytes(i)`. Small segments make it
rotate; of larger ones the second is made ahead, and it waits for that.
"""

import asyncio
import os
import sys
from pathlib import Path

from server.clock import SystemClock
from storage import Append, Put, Store, StoreOptions

STREAMS = ("site", "shop")
SMALL_SEGMENTS = 256 * 1024
AHEAD_SEGMENTS = 4 * 1024 * 1024
EVENTS = 420
_TASKS = 3
_BEFORE = 330
"""Events before the wait."""


def event_bytes(number: int) -> bytes:
    """The event: its length varies from a few bytes to more than a page."""
    return f"event {number} ".encode() * (1 + number * 37 % 500)


def options(segment_bytes: int) -> StoreOptions:
    """Options of the recorded store."""
    return StoreOptions(segment_bytes=segment_bytes, free_bytes_min=0)


async def _append(store: Store, numbers: list[int], acknowledged: int) -> None:
    for number in numbers:
        appended = store.wal.append(Append(STREAMS[number % 2], b"head", [event_bytes(number)], [number]))
        await appended.durable()
        os.write(acknowledged, f"{number}\n".encode())


def _wait_for_the_next(store: Store) -> None:
    blank = store._segments.blank
    with blank._changed:
        assert blank._changed.wait_for(lambda: blank.ready, 20)


async def main(root: Path, segment_bytes: int) -> None:
    acknowledged = os.open(root / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    store = Store.open(root / "store", options(segment_bytes), SystemClock())
    for first, end in ((0, _BEFORE), (_BEFORE, EVENTS)):
        if first and segment_bytes == AHEAD_SEGMENTS:
            await asyncio.to_thread(_wait_for_the_next, store)
        await asyncio.gather(
            *(_append(store, list(range(first + n, end, _TASKS)), acknowledged) for n in range(_TASKS))
        )
    await store.catalog.write([Put("facts", b"written", b"yes")])
    os.write(acknowledged, b"catalog\n")
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
