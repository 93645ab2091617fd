"""Which message ids are durable in the WAL's recent past: a cache of its id blocks, bounded twice.

Ids are u64 hashes. They sit in generations of bounded size, newest first; whole generations leave, oldest
first. Measured with 700 K ids, against one set of them: it would be faster to ask (8 against 30 to 40 us per
100 ids) but stalls the loop for 22 ms when it grows and for 30 ms at every full garbage collection. A
generation grows in 1 to 3 ms, and is a dict because the collector does not look into dicts of plain ints (up
to CPython 3.13; a test pins it), while it visits every entry of a set. Dropped generations are freed in
slices. Thread: the WAL's writer; before it runs, the thread that opens the store; sizes on any.
"""

from array import array
from collections import deque
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import repeat
from typing import Final

ID_BYTES: Final = 96
"""Memory of one id: an int object of 48 bytes and its share of a dict (measured together: 92)."""

GENERATION_IDS: Final = 150_000
"""Below the 174,762 at which a dict of 2^18 slots would grow again."""

_GENERATIONS_PER_WINDOW: Final = 8
_SLICE_IDS: Final = 8_000
"""Freed at a time: about a millisecond."""


class _Generation:
    __slots__ = ("first_ms", "ids", "last_ms")

    def __init__(self, first_ms: int) -> None:
        self.ids: dict[int, None] = {}
        self.first_ms = self.last_ms = first_ms


class Dedupe:
    """The durable ids."""

    def __init__(self, bytes_max: int, window_s: float) -> None:
        self._ids_max = max(1, bytes_max // ID_BYTES)
        self._generation_ids = max(1, min(GENERATION_IDS, self._ids_max // 4))
        self._window_ms = int(window_s * 1000)
        self._generations: deque[_Generation] = deque()
        self._leaving: deque[dict[int, None]] = deque()
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
        reach_ms = self._window_ms
        if self.short:
            with suppress(IndexError):  # there is none, or none any more
                reach_ms = min(reach_ms, max(0, now_ms - self._generations[-1].first_ms))
        return reach_ms / 1000

    def knows(self, id_hash: int) -> bool:
        """Whether this id is durable."""
        for generation in self._generations:  # noqa: SIM110 - a generator costs three times as much
            if id_hash in generation.ids:
                return True
        return False

    def knows_none(self, ids: Collection[int]) -> bool:
        """Whether none of these is durable."""
        for generation in self._generations:  # noqa: SIM110
            if not generation.ids.keys().isdisjoint(ids):
                return False
        return True

    def add(self, ids: Collection[int], committed_ms: int) -> None:
        """Ids of a durable commit; commits come in order of time."""
        generation = self._generation(committed_ms)
        before = len(generation.ids)
        generation.ids.update(dict.fromkeys(ids))
        generation.last_ms = committed_ms
        self._ids += len(generation.ids) - before

    def restore(self, ids: "array[int]", first_ms: int, last_ms: int) -> None:
        """Ids of a whole segment, before the loop runs; segments come in order of time."""
        start = 0
        while start < len(ids):
            newest = self._generations[0] if self._generations else None
            if newest is None or len(newest.ids) >= self._generation_ids:
                newest = _Generation(first_ms)
                self._generations.appendleft(newest)
            before = len(newest.ids)
            stop = start + self._generation_ids - before
            # Nothing is taken meanwhile; with a dict of them in between it takes a quarter longer.
            newest.ids.update(zip(ids[start:stop], repeat(None)))
            newest.last_ms = last_ms
            self._ids += len(newest.ids) - before
            start = stop

    def forget(self, ids: Iterable[int]) -> None:
        """Ids whose events turned out to be lost: a repeat must be taken again."""
        for id_hash in ids:
            for generation in self._generations:
                if id_hash in generation.ids:
                    del generation.ids[id_hash]
                    self._ids -= 1

    def evict(self, now_ms: int) -> None:
        """Let the oldest generations beyond memory or time go: they stop counting, `free` frees."""
        while self._generations and (
            self._ids > self._ids_max or self._generations[-1].last_ms < now_ms - self._window_ms
        ):
            self.short = self.short or self._ids > self._ids_max
            gone = self._generations.pop().ids
            self._ids -= len(gone)
            self._leaving.append(gone)

    def free(self, ids_min: int) -> bool:
        """Free a slice of what was evicted, of `ids_min` at least if there are so many; True if there is
        more.
        """
        left = max(ids_min, _SLICE_IDS)
        while self._leaving and left > 0:
            ids = self._leaving[0]
            for _ in range(min(left, len(ids))):
                ids.popitem()
                left -= 1
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
