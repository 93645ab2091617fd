"""The process's own loop: when it trims."""

import asyncio
from collections.abc import Mapping
from typing import Any

from server.health import Heartbeats
from server.housekeeping import Housekeeping


class _Wal:
    def __init__(self) -> None:
        self.trimmed: list[Mapping[str, int]] = []
        self.done = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def trim(self, keep_after: Mapping[str, int]) -> None:
        self.trimmed.append(keep_after)
        self._loop.call_soon_threadsafe(self.done.set)


class _HurriedClock:
    """A minute later each time somebody looks."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic_s(self) -> float:
        self._now_s += 60
        return self._now_s


async def test_nothing_is_trimmed_before_the_checkpoints_are_known() -> None:
    wal: Any = _Wal()
    clock: Any = _HurriedClock()
    answers = iter([None, None, {"site": 5}])
    housekeeping = Housekeeping(wal, Heartbeats(), clock)
    task = asyncio.create_task(housekeeping.run(lambda: next(answers), lambda: None))
    await asyncio.wait_for(wal.done.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert wal.trimmed == [{"site": 5}]
