"""What storage tests work with: clocks that stand still, a store in a folder, its events as lists."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from storage import Append, Chunk, Store, StoreOptions

START_MS = 1_800_000_000_000
SMALL = 256 * 1024
"""Segment bytes with which a few large events make a rotation."""


class ManualClock:
    """Both clocks move only when told to, together or apart."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.now_s = 1000.0

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_s(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.now_s += seconds


class BrokenClock(ManualClock):
    """Wall time that can be made to fail, on whichever thread asks."""

    broken = False

    def wall_ms(self) -> int:
        if self.broken:
            raise RuntimeError("the clock is broken")
        return super().wall_ms()


@asynccontextmanager
async def opened(path: Path, clock: ManualClock | None = None, **options: float) -> AsyncIterator[Store]:
    """A store, closed at the end. The disk's free space does not matter unless `free_bytes_min` says so."""
    store = Store.open(path, StoreOptions(**{"free_bytes_min": 0, **options}), clock or ManualClock())  # type: ignore[arg-type]
    try:
        yield store
    finally:
        store.close()


async def put(store: Store, items: Sequence[Any], ids: Sequence[int], stream: str = "site") -> Append:
    """Append and wait until durable."""
    appended = store.wal.append(Append(stream, b"head", items, ids))
    await appended.durable()
    return appended


async def fill(store: Store, segments: int, stream: str = "site", first_id: int = 1) -> int:
    """Append events of 40 KB until there are so many segments; the next unused id."""
    while store.wal.stats().segments < segments:
        await put(store, [first_id.to_bytes(8, "little") * 5_000], [first_id], stream)
        first_id += 1
    return first_id


def events(chunk: Chunk) -> list[tuple[int, bytes]]:
    """(offset, item) of a chunk."""
    return [(group.first_offset + at, item) for group in chunk.groups for at, item in enumerate(group.items)]


def items(store: Store, stream: str = "site") -> list[bytes]:
    """Every readable event of a stream, in order, read in small chunks."""
    found: list[bytes] = []
    after = 0
    while (chunk := store.wal.read(stream, after, 100_000, 7)).last > after:
        found += [item for _, item in events(chunk)]
        after = chunk.last
    return found


def holes(store: Store, stream: str = "site") -> list[tuple[int, int, str]]:
    """Every hole of a stream."""
    found = []
    after = 0
    while (chunk := store.wal.read(stream, after, 10_000_000, 1_000)).last > after:
        found += [(hole.first, hole.last, hole.reason) for hole in chunk.holes]
        after = chunk.last
    return found


def crash_copy(path: Path, to: Path) -> Path:
    """What a kill -9 would leave now: a copy of the open store's files."""
    return Path(shutil.copytree(path, to))


def segment_files(path: Path) -> list[Path]:
    """The segments on disk, oldest first."""
    return sorted((path / "wal").glob("*.lmdb"))


def damage(segment: Path, content: bytes) -> None:
    """Flip a bit inside `content`, wherever the file has it."""
    raw = bytearray(segment.read_bytes())
    at = raw.index(content) + len(content) // 2
    raw[at] ^= 1
    segment.write_bytes(raw)
