"""A process that does what its standard input says, line by line, and answers each line with what became of
it.

`append N [BYTES]` event number N; `put N` into the catalog; `count` readable events; `refusal`; whether the
next segment was made `ahead`; `close`. Arguments: the folder of the store, bytes of a segment. The answer is
"ok", a number, or the name of the error.
"""

import asyncio
import sys
from pathlib import Path

from server.clock import SystemClock
from storage import Append, Put, StorageError, Store, StoreOptions


def _ahead(store: Store) -> str:
    """Whether the next segment is made, once it is or will not be."""
    blank = store._segments.blank
    with blank._changed:
        assert blank._changed.wait_for(lambda: blank.ready or blank._over, 20)
        return str(blank.ready)


async def _obey(store: Store, words: list[str]) -> str:
    match words:
        case ["append", number, *size]:
            item = number.encode() * int(size[0] if size else 1)
            await store.wal.append(Append("site", b"", [item], [int(number)])).durable()
        case ["put", number]:
            await store.catalog.write([Put("facts", number.encode(), b"")])
        case ["count"]:
            return str(sum(len(group.items) for group in store.wal.read("site", 0, 1 << 30, 1 << 20).groups))
        case ["refusal"]:
            return type(store.wal.refusal).__name__
        case ["ahead"]:
            return await asyncio.to_thread(_ahead, store)
        case ["close"]:
            store.close()
    return "ok"


async def main(path: Path, segment_bytes: int) -> None:
    store = Store.open(path, StoreOptions(segment_bytes=segment_bytes, free_bytes_min=0), SystemClock())
    print("open", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await asyncio.wait_for(_obey(store, line.split()), 20)
        except StorageError as error:
            answer = type(error).__name__
        print(answer, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
