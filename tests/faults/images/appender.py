"""A process that appends events, and records each once it was told that they are durable. Argument: a folder.

Event number i is in stream i % 2 with id hash i; its bytes are `event_bytes(i)`. Small segments make it
rotate.
"""

import asyncio
import os
import sys
from pathlib import Path

from server.clock import SystemClock
from storage import Put, Store, StoreOptions

STREAMS = ("site", "shop")
SEGMENT_BYTES = 256 * 1024
EVENTS = 420
_TASKS = 3


def event_bytes(number: int) -> bytes:
    """The event: its length varies from a few bytes to more than a page."""
    return f"event {number} ".encode() * (1 + number * 37 % 500)


def options() -> StoreOptions:
    """Options of the recorded store."""
    return StoreOptions(segment_bytes=SEGMENT_BYTES, free_bytes_min=0)


async def _append(store: Store, numbers: list[int], acknowledged: int) -> None:
    for number in numbers:
        appended = store.wal.append(STREAMS[number % 2], b"head", [event_bytes(number)], [number])
        await appended.durable()
        os.write(acknowledged, f"{number}\n".encode())


async def main(root: Path) -> None:
    acknowledged = os.open(root / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    store = Store.open(root / "store", options(), SystemClock())
    await asyncio.gather(
        *(_append(store, list(range(n, EVENTS, _TASKS)), acknowledged) for n in range(_TASKS))
    )
    await store.catalog.write([Put("facts", b"written", b"yes")])
    os.write(acknowledged, b"catalog\n")
    store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
