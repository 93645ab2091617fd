"""Where a new link begins: offsets and commit times of a real WAL."""

import asyncio
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.delivery.start import start_offset
from storage import Store
from tests.faults.delivery.box import OPTIONS, STREAM, append, bodies


class SteppedClock(SystemClock):
    """A wall clock that a test moves."""

    now_ms = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.now_ms


@pytest.mark.parametrize("gap", [1, 7])
async def test_a_time_is_found_among_many(tmp_path: Path, gap: int) -> None:
    """Sessions of the store leave gaps of any width between offsets; each commit has its own time."""
    clock, committed = SteppedClock(), {}
    for session in range(3):
        store = await asyncio.to_thread(Store.open, tmp_path, OPTIONS, clock)
        store.wal.start(asyncio.get_running_loop())
        for at in range(4):
            clock.now_ms += gap
            await append(store, bodies([f"{session}{at}a", f"{session}{at}b"]))
            committed[clock.now_ms] = store.wal.head(STREAM)
        wal = store.wal
        if session < 2:
            await asyncio.to_thread(store.close)
    times = sorted(committed)
    before = {time: committed[times[at - 1]] for at, time in enumerate(times) if at}
    assert all(start_offset(wal, STREAM, time) == offset for time, offset in before.items())
    assert start_offset(wal, STREAM, times[0]) == start_offset(wal, STREAM, "oldest") == wal.first(STREAM) - 1
    assert start_offset(wal, STREAM, times[-1] + 1) == start_offset(wal, STREAM, "now") == wal.head(STREAM)
    assert start_offset(wal, "nobody", times[0]) == start_offset(wal, "nobody", "now") == 0
    await asyncio.to_thread(store.close)
