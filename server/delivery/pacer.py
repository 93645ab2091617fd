"""Sharing the event loop: CPU work of delivery goes in short slices, and gives way the more the loop is
wanted elsewhere.

Thread: the event loop. One pacer serves every flusher of the process.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Self

SLICE_S: Final = 0.001
"""A slice of layout or decoding ends after this long; ingest waits no longer than that for the loop."""

GIVE_WAY_S_MAX: Final = 0.006
"""Preparing a batch waits this long for a busy loop to fall idle: requests come first, and so does the
encoding of the batch in flight, which Postgres waits for."""

BUSY_ROUND_S: Final = 0.0002
"""A round of the loop that takes longer had work for others."""

REST_S: Final = 0.005
"""While events are taken in, the loop idles this long after a slice. Giving way is not enough: the thread
that commits them needs the GIL, which a loop that never idles keeps for a switch interval at every
hand-over.
"""

INGEST_S: Final = 0.1
"""Events are taken in if a commit is no older than this."""

PAUSE_S_MAX: Final = 0.02
"""The longest pause between two slices, at full pressure: delivery slows down under load but never stops."""

SHARED_EVENTS_MAX: Final = 1_000
"""Events of a batch while events are taken in. Postgres merges 10,000 rows in one go of 150 ms; on a box of
two cores that is a core less for requests, and they queue up meanwhile. Beside a load, smaller batches
deliver as much (ARCHITECTURE.md, Decisions).
"""


def no_pressure() -> float:
    """For a process that has nothing to give way to."""
    return 0.0


class Pacer:
    """`pressure()` says how much the loop is wanted by others: 0.0 = idle … 1.0 = ingest latency is at its
    limit.
    """

    def __init__(self, pressure: Callable[[], float]) -> None:
        self._pressure = pressure
        self._lock = asyncio.Lock()
        self._ingest_ends_s = 0.0

    def turn(self) -> "Turn":
        """`async with pacer.turn() as turn:`; with many busy links the loop still runs one slice a round."""
        return Turn(self._lock, self._pause_s)

    def committed(self) -> None:
        """Events were taken in: somebody waits for an answer."""
        self._ingest_ends_s = time.perf_counter() + INGEST_S

    def batch_events(self, events_max: int) -> int:
        """How many events a batch should have now, where it may have `events_max`."""
        return min(events_max, SHARED_EVENTS_MAX) if self._shared else events_max

    @property
    def _shared(self) -> bool:
        """Whether events are being taken in."""
        return time.perf_counter() < self._ingest_ends_s

    def _pause_s(self) -> float:
        """How long the loop should be left alone now."""
        rest_s = REST_S if self._shared else 0.0
        return max(rest_s, min(self._pressure(), 1.0) * PAUSE_S_MAX)


class Turn:
    """The right to use the loop, in slices. Look at `spent` now and then, and `breathe` when it is true."""

    __slots__ = ("_held", "_lock", "_pause_s", "_slice_ends_s")

    def __init__(self, lock: asyncio.Lock, pause_s: Callable[[], float]) -> None:
        self._lock = lock
        self._pause_s = pause_s
        self._held = False
        self._slice_ends_s = 0.0

    async def __aenter__(self) -> Self:
        await self._take()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._give()

    @property
    def spent(self) -> bool:
        """True once the running slice should end."""
        return time.perf_counter() >= self._slice_ends_s

    async def rest(self) -> None:
        """`breathe`, if the slice is spent."""
        if self.spent:
            await self.breathe()

    async def breathe(self) -> None:
        """Lets everything that waits for the loop run, longer under pressure; then the turn goes round."""
        now_s = time.perf_counter()
        gives_way_until_s = now_s + GIVE_WAY_S_MAX
        busy = True
        while busy and now_s < gives_way_until_s:
            round_began_s = now_s
            await asyncio.sleep(0)
            now_s = time.perf_counter()
            busy = now_s - round_began_s > BUSY_ROUND_S
        pause_s = self._pause_s()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        self._give()
        await self._take()

    async def _take(self) -> None:
        await self._lock.acquire()
        self._held = True
        self._slice_ends_s = time.perf_counter() + SLICE_S

    def _give(self) -> None:
        # Not held if the task was cancelled while it waited for its next turn.
        if self._held:
            self._held = False
            self._lock.release()
