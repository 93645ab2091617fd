"""The process's own loop: heartbeats, how busy the event loop is, and trimming the WAL.

Thread: the event loop; trimming runs in a thread.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from server.clock import SystemClock
from server.health import Heartbeats
from storage import StorageError, Wal

_log = logging.getLogger("penstock.housekeeping")

_TICK_S: Final = 0.02
_DEADLINE_S: Final = 10.0
_TRIM_EVERY_S: Final = 10.0
# A tick that comes this late means that requests wait as long: delivery starts to give way, and gives way
# fully.
_LAG_EASY_S: Final = 0.004
_LAG_FULL_S: Final = 0.012
_SMOOTHING: Final = 0.2


class Housekeeping:
    """`keep_after()` of `run` gives stream → offset up to which every link is done, None while nobody knows:
    then nothing is trimmed.
    """

    def __init__(self, wal: Wal, heartbeats: Heartbeats, clock: SystemClock) -> None:
        self._wal = wal
        self._heartbeats = heartbeats
        self._clock = clock
        self._lag_s = 0.0

    def pressure(self) -> float:
        """How much the loop is wanted by requests: 0.0 = idle … 1.0 = they wait as long as they may."""
        return min(1.0, max(0.0, (self._lag_s - _LAG_EASY_S) / (_LAG_FULL_S - _LAG_EASY_S)))

    async def run(
        self, keep_after: Callable[[], dict[str, int] | None], every_tick: Callable[[], None]
    ) -> None:
        """Until cancelled. `keep_after()` is asked before trimming, `every_tick` runs every 20 ms."""
        trim_due_s = self._clock.monotonic_s() + _TRIM_EVERY_S
        while True:
            before_s = self._clock.monotonic_s()
            await asyncio.sleep(_TICK_S)
            now_s = self._clock.monotonic_s()
            self._lag_s += _SMOOTHING * (now_s - before_s - _TICK_S - self._lag_s)
            self._heartbeats.beat("housekeeping", _DEADLINE_S, now_s)
            every_tick()
            if now_s >= trim_due_s and (kept := keep_after()) is not None:
                trim_due_s = now_s + _TRIM_EVERY_S
                await self._trim(kept)

    async def _trim(self, keep_after: dict[str, int]) -> None:
        try:
            await asyncio.to_thread(self._wal.trim, keep_after)
        except StorageError as error:
            _log.warning("the WAL could not be trimmed: %s", error)
