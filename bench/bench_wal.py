"""The WAL alone: durable appends singly and in batches, reads, the open after a kill -9 with a backlog.

`python -m pytest bench/bench_wal.py -o python_files='bench_*.py'`; times hold for one machine and one run.
The switch interval is a parameter because a busy loop makes the writer thread wait for the GIL at each
hand-over. On a shared 2-core machine, beside a loop that is never idle: appends 1.6 times as fast at 0.5 ms
as at the default 5 ms (medians of this benchmark; the best rounds are equal), mean commits of 1.6 to 3.8 ms
against 12 to 74 ms. With idle gaps in the loop no difference stood out from the noise.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Final

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from server.clock import SystemClock
from storage import SWITCH_INTERVAL_S, Append, Store, StoreOptions

WAITERS: Final = 64
SINGLES: Final = 64 * 50
BATCHES: Final = 200
BATCH: Final = 100
BACKLOG_BATCHES: Final = 3_500
HEAD: Final = b"h" * 100
ITEM: Final = os.urandom(700)
_RANDOM: Final = Random(7)

Work = Callable[[Store], Coroutine[Any, Any, None]]


def ids(count: int) -> list[int]:
    """Hashes as ingest makes them."""
    return [_RANDOM.getrandbits(64) for _ in range(count)]


async def append_each(store: Store, count: int, size: int, waiters: int, *, hot: bool = False) -> None:
    """`count` appends of `size` events by so many waiters; `hot` keeps the loop from ever being idle."""

    async def one() -> None:
        for _ in range(count // waiters):
            await store.wal.append(Append("site", HEAD, [ITEM] * size, ids(size))).durable()

    async def spin() -> None:
        while True:
            until = perf_counter() + 30e-6
            while perf_counter() < until:
                pass
            await asyncio.sleep(0)

    spinning = asyncio.create_task(spin()) if hot else None
    await asyncio.gather(*(one() for _ in range(waiters)))
    if spinning is not None:
        spinning.cancel()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Work], None]]:
    """Runs a coroutine on one loop with one open store, at the process's own switch interval."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = uvloop.new_event_loop()
    store = Store.open(tmp_path / "store", StoreOptions(), SystemClock())
    store.wal.start(loop)
    yield lambda work: loop.run_until_complete(work(store))
    store.close()
    loop.close()
    sys.setswitchinterval(interval_s)


def test_single_appends(benchmark: BenchmarkFixture, run: Callable[[Work], None]) -> None:
    benchmark.extra_info["events"] = SINGLES
    benchmark.pedantic(run, (lambda store: append_each(store, SINGLES, 1, WAITERS),), rounds=5)


@pytest.mark.parametrize("interval_s", [0.005, SWITCH_INTERVAL_S])
def test_single_appends_beside_a_busy_loop(
    benchmark: BenchmarkFixture, run: Callable[[Work], None], interval_s: float
) -> None:
    sys.setswitchinterval(interval_s)
    benchmark.extra_info["events"] = SINGLES // 4
    benchmark.pedantic(run, (lambda store: append_each(store, SINGLES // 4, 1, WAITERS, hot=True),), rounds=5)


def test_batches_of_100(benchmark: BenchmarkFixture, run: Callable[[Work], None]) -> None:
    benchmark.extra_info["events"] = BATCHES * BATCH
    benchmark.pedantic(run, (lambda store: append_each(store, BATCHES, BATCH, 8),), rounds=5)


def test_reads(benchmark: BenchmarkFixture, run: Callable[[Work], None]) -> None:
    run(lambda store: append_each(store, BATCHES, BATCH, 8))

    async def read_all(store: Store) -> None:
        after, events = 0, 0
        while (chunk := store.wal.read("site", after, 1 << 20, 1_000)).last > after:
            events += sum(len(group.items) for group in chunk.groups)
            after = chunk.last
        assert events == BATCHES * BATCH

    benchmark.extra_info["events"] = BATCHES * BATCH
    benchmark.pedantic(run, (read_all,), rounds=5)


def test_open_after_a_kill(benchmark: BenchmarkFixture, run: Callable[[Work], None], tmp_path: Path) -> None:
    """A backlog of about 250 MB; the copy of an open store's files is what a kill -9 leaves."""
    run(lambda store: append_each(store, BACKLOG_BATCHES, BATCH, 10))
    copies = iter(range(100))

    def crash() -> tuple[tuple[Path], dict[str, Any]]:
        return (Path(shutil.copytree(tmp_path / "store", tmp_path / f"copy {next(copies)}")),), {}

    def reopen(path: Path) -> None:
        opened.append(Store.open(path, StoreOptions(), SystemClock()))

    opened: list[Store] = []
    benchmark.pedantic(reopen, setup=crash, rounds=3)
    for store in opened:
        assert store.wal.head("site") > 0
        store.close()
