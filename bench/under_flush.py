"""Ingest while a backlog is flushed at full speed, and the flush itself: `python -m bench.under_flush`.

One Penstock over real HTTP and a real Postgres (PENSTOCK_TEST_DATABASE_URL names another server; a database
is made in it and dropped). The backlog is built while the destination cannot be reached; then the server is
started again with one that can. Latency is counted from when a request was due, in several rounds; the
promise is for each. With few connections it has a part that is the generator's: one slow commit holds all of
them, and what falls due meanwhile waits for one. An answer waits for the disk, so beside each round stands
how long that took at most with a page that is not ours: a disk that stops for 40 ms once in a round takes
the round's p99 with it. Memory is RssAnon, looked at every 0.2 s.
"""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit
from urllib.request import urlopen

import asyncpg
import click

from bench.bench_delivery import DEFAULT_URL
from bench.ratios import free_port, load, process

DATABASE: Final = "penstock_bench_under_flush"
P99_MS_MAX: Final = 25.0
_EVERY_S: Final = 0.2
_DISK_EVERY_S: Final = 0.01
_PAGE_BYTES: Final = 4096
_BATCH: Final = 100
_WARM_S: Final = 1.0
"""A start reads the schema and learns shapes; what is measured is the flush after that."""


@dataclass(slots=True)
class Memory:
    """RssAnon of a process over a while, in MiB."""

    pid: int
    seen: list[float] = field(default_factory=list)

    def look(self) -> None:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        self.seen.append(int(line.split()[1]) / 1024)

    def __str__(self) -> str:
        step = max(1, len(self.seen) // 10)
        return " ".join(f"{mib:.0f}" for mib in self.seen[::step]) + f" MiB, at most {max(self.seen):.0f}"


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Memory]:
    """Looks at the memory of a process until the block ends."""
    memory, done = Memory(pid), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            memory.look()

    memory.look()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


class Disk:
    """What the disk of `folder` does to anyone: the fdatasync of one page, a hundred times a second."""

    def __init__(self, folder: Path) -> None:
        self._longest_s = 0.0
        self._done = threading.Event()
        self._file = os.open(folder / "page", os.O_WRONLY | os.O_CREAT, 0o600)
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._done.set()
        self._thread.join()
        os.close(self._file)

    def longest_ms(self) -> float:
        """Since the last time this was asked."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return 1000 * longest_s

    def _watch(self) -> None:
        while not self._done.wait(_DISK_EVERY_S):
            os.pwrite(self._file, os.urandom(_PAGE_BYTES), 0)
            began_s = time.perf_counter()
            os.fdatasync(self._file)
            self._longest_s = max(self._longest_s, time.perf_counter() - began_s)


class Box:
    """One data directory, started with a destination that can be reached or cannot."""

    def __init__(self, folder: Path, url: str, connections: int) -> None:
        self._folder = folder
        self._connections = connections
        self._url = urlsplit(url)
        self.port = free_port()

    @contextlib.contextmanager
    def server(self, *, reachable: bool) -> Iterator[int]:
        """The process id of a running server."""
        datasource = {
            "host": self._url.hostname or "127.0.0.1",
            "port": (self._url.port or 5432) if reachable else free_port(),
            "db": DATABASE,
            "username": self._url.username or "postgres",
            "password": self._url.password or "",
        }
        conf = self._folder / "penstock.yaml"
        conf.write_text(
            json.dumps(
                {
                    "server": {"host": "127.0.0.1", "port": self.port, "admin_token": "bench-token"},
                    "store": {"path": str(self._folder / "data")},
                    "streams": {"site": {"name": "Bench", "server_keys": ["site-s:ssecret"]}},
                    "destinations": {"pg": {"type": "postgres", "datasource": datasource}},
                    "links": {"site-pg": {"from": "site", "to": "pg", "data": {"mode": "stream"}}},
                }
            )
        )
        with process(sys.executable, "-m", "server.cli", "serve", "--conf", str(conf), port=self.port) as pid:
            yield pid

    def backlog(self) -> int:
        """Events that wait for the destination."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            int(float(line.split()[-1])) for line in lines if line.startswith("penstock_link_backlog_events{")
        )

    def drained(self) -> None:
        """Waits until nothing waits."""
        while self.backlog():
            time.sleep(_EVERY_S / 4)

    def single(self, seconds: float, rate: float = 0) -> dict[str, float]:
        """Single events, at `rate` a second or as fast as they are answered."""
        return load(
            self.port, "/v1/track", events=1, connections=self._connections, seconds=seconds, rate=rate
        )

    def fill(self, events: int) -> None:
        """Batches until so many events wait."""
        while self.backlog() < events:
            load(self.port, "/v1/batch", events=_BATCH, connections=8, seconds=0.5)


def rounds_of(box: Box, disk: Disk, what: str, rounds: int, seconds: float, rate: float) -> list[float]:
    """The p99 of single events at a rate, in ms, of each round; prints them."""
    seen = []
    for _ in range(rounds):
        disk.longest_ms()
        figures = box.single(seconds, rate)
        seen.append(figures["p99_ms"])
        click.echo(
            f"  {what}, {figures['requests_per_s']:.0f}/s: p50 {figures['p50_ms']:.1f} ms, "
            f"p99 {figures['p99_ms']:.1f} ms, at most {figures['max_ms']:.1f} ms; "
            f"the disk at most {disk.longest_ms():.1f} ms; backlog {box.backlog()}"
        )
    return seen


def measure(box: Box, disk: Disk, backlog: int, rounds: int, seconds: float) -> None:
    """Runs the phases and prints what was seen."""
    with box.server(reachable=False) as pid:
        most = box.single(seconds)["requests_per_s"]
        half = most / 2
        alone = rounds_of(box, disk, "destination away", rounds, seconds, half)
        with watched(pid) as away:
            box.fill(backlog)
    click.echo(
        f"single events, destination away: {most:.0f}/s at most; "
        f"p99 at half {statistics.median(alone):.1f} ms (median)"
    )
    click.echo(f"memory while the backlog grew: {away}")
    with box.server(reachable=True) as pid, watched(pid) as flushing:
        box.single(_WARM_S, half)
        during = rounds_of(box, disk, "flushing", rounds, seconds, half)
        after = box.backlog()
        box.drained()
    kept = sum(p99_ms < P99_MS_MAX for p99_ms in during)
    verdict = "kept" if kept == rounds else f"NOT KEPT: in {kept} of {rounds} rounds only"
    click.echo(
        f"at half load during a flush: p99 {statistics.median(during):.1f} ms (median; "
        f"promise: each under {P99_MS_MAX:.0f}; {verdict if after else 'backlog too small to tell'})"
    )
    click.echo(f"memory meanwhile, until drained: {flushing}")
    with box.server(reachable=False):
        box.fill(backlog)
    with box.server(reachable=True) as pid, watched(pid) as idle:
        began_s, waiting = time.perf_counter(), box.backlog()
        box.drained()
        took_s = time.perf_counter() - began_s
    click.echo(f"delivery without load: {waiting} events in {took_s:.1f} s, {waiting / took_s:.0f}/s")
    click.echo(f"memory meanwhile: {idle}")


async def _database(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


@click.command()
@click.option("--backlog", default=200_000, show_default=True, help="Events to flush.")
@click.option("--rounds", default=5, show_default=True, help="Measurements of ingest, with and without.")
@click.option("--seconds", default=4.0, show_default=True, help="Seconds per measurement of ingest.")
@click.option("--connections", default=64, show_default=True, help="Connections of the generator.")
def main(backlog: int, rounds: int, seconds: float, connections: int) -> None:
    """Measure ingest latency with and without a flush, the flush, and memory."""
    url = os.environ.get("PENSTOCK_TEST_DATABASE_URL", DEFAULT_URL)
    drop = f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"
    asyncio.run(_database(url, drop))
    asyncio.run(_database(url, f"CREATE DATABASE {DATABASE}"))
    try:
        with tempfile.TemporaryDirectory() as folder, Disk(Path(folder)) as disk:
            measure(Box(Path(folder), url, connections), disk, backlog, rounds, seconds)
    finally:
        asyncio.run(_database(url, drop))


if __name__ == "__main__":
    main()
