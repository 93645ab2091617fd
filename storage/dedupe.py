"""Which message ids are durable in the WAL's recent past: a cache of its id blocks, bounded twice.

Ids are u64 hashes. They sit in generations, sets of bounded size, newest first; whole generations leave,
oldest first. One large set would be faster to ask but stalls the loop when it grows (700 K ids: 22 ms for one
resize, measured; a generation at its bound: 0.7 ms), and dropping one frees its ids in slices for the same
reason. Thread: the loop; before the loop runs, the thread that opens the store.
"""

from array import array
from collections import deque
from collections.abc import Collection, Iterable
from typing import Final

ID_BYTES: Final = 96
"""Memory of one id: an int of 48 bytes and its share of a set 30 to 60 % full (measured: 75 to 101)."""

GENERATION_IDS: Final = 150_000
"""Just below where a set of 2^18 entries would grow again."""

_GENERATIONS_PER_WINDOW: Final = 8
_SLICE_IDS: Final = 8_000
"""Freed at a time: about half a millisecond."""


class _Generation:
    __slots__ = ("first_ms", "ids", "last_ms")

    def __init__(self, first_ms: int) -> None:
        self.ids: set[int] = set()
        self.first_ms = self.last_ms = first_ms


class Dedupe:
    """The durable ids. What is pending belongs to the commits that carry it."""

    def __init__(self, bytes_max: int, window_s: float) -> None:
        self._ids_max = max(1, bytes_max // ID_BYTES)
        self._generation_ids = max(1, min(GENERATION_IDS, self._ids_max // 4))
        self._window_ms = int(window_s * 1000)
        self._generations: deque[_Generation] = deque()
        self._leaving: deque[set[int]] = deque()
        self._ids = 0
        self.short = False
        """Whether ids within the window are known to be missing."""

    def __len__(self) -> int:
        return self._ids

    @property
    def ids_max(self) -> int:
        """How many ids fit in memory."""
        return self._ids_max

    def window_s(self, now_ms: int) -> float:
        """How far back a repeat is recognised: the configured window, or what of it fits and is retained."""
        if not self.short or not self._generations:
            return self._window_ms / 1000
        return min(self._window_ms, max(0, now_ms - self._generations[-1].first_ms)) / 1000

    def knows(self, id_hash: int) -> bool:
        """Whether this id is durable."""
        for generation in self._generations:  # noqa: SIM110 - a generator costs three times as much
            if id_hash in generation.ids:
                return True
        return False

    def knows_none(self, ids: Collection[int]) -> bool:
        """Whether none of these is durable."""
        for generation in self._generations:  # noqa: SIM110
            if not generation.ids.isdisjoint(ids):
                return False
        return True

    def add(self, ids: Collection[int], committed_ms: int) -> None:
        """Ids of a durable commit; commits come in order of time."""
        generation = self._generation(committed_ms)
        before = len(generation.ids)
        generation.ids.update(ids)
        generation.last_ms = committed_ms
        self._ids += len(generation.ids) - before

    def restore(self, ids: "array[int]", first_ms: int, last_ms: int) -> None:
        """Ids of a whole segment, before the loop runs; segments come in order of time."""
        for start in range(0, len(ids), self._generation_ids):
            generation = _Generation(first_ms)
            generation.ids.update(ids[start : start + self._generation_ids])
            generation.last_ms = last_ms
            self._generations.appendleft(generation)
            self._ids += len(generation.ids)

    def forget(self, ids: Iterable[int]) -> None:
        """Ids whose events turned out to be lost: a repeat must be taken again."""
        ids = set(ids)
        for generation in self._generations:
            before = len(generation.ids)
            generation.ids -= ids
            self._ids += len(generation.ids) - before

    def evict(self, now_ms: int) -> None:
        """Let the oldest generations beyond memory or time go: they stop counting, `free` frees."""
        while self._generations and (
            self._ids > self._ids_max or self._generations[-1].last_ms < now_ms - self._window_ms
        ):
            self.short = self.short or self._ids > self._ids_max
            gone = self._generations.pop().ids
            self._ids -= len(gone)
            self._leaving.append(gone)

    def free(self) -> bool:
        """Free a slice of what was evicted; True if there is more."""
        if self._leaving:
            ids = self._leaving[0]
            for _ in range(min(_SLICE_IDS, len(ids))):
                ids.pop()
            if not ids:
                self._leaving.popleft()
        return bool(self._leaving)

    def _generation(self, now_ms: int) -> _Generation:
        newest = self._generations[0] if self._generations else None
        if (
            newest is None
            or len(newest.ids) >= self._generation_ids
            or now_ms - newest.first_ms > self._window_ms // _GENERATIONS_PER_WINDOW
        ):
            newest = _Generation(now_ms)
            self._generations.appendleft(newest)
        return newest
