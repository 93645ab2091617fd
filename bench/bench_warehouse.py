"""`Destination.flush` against the least that Postgres has to do for the same rows.

Baseline: binary COPY of the same rows, encoded beforehand, into a temporary table, then INSERT … ON CONFLICT
into an equal table with equal indexes, in one transaction. Both take turns on one server, so the ratio holds
where the figures do not. `--by-day` compares a plain table with one partitioned by day instead, `--tables N`
one table with so many. Run: `python -m bench.bench_warehouse [--profile | --by-day | --tables N]`;
PENSTOCK_TEST_DATABASE_URL names another server.
"""

import cProfile
import os
import pstats
import statistics
import sys
import time
import uuid
from collections.abc import Iterable
from urllib.parse import urlsplit

import asyncpg
import uvloop

from server.warehouse import Batch, Destination, LinkKey, LocalProgress, PostgresConfig, Row, TableOptions
from server.warehouse.copy import copy_stream
from server.warehouse.encode import Encoding

DEFAULT_URL = "postgresql://postgres@127.0.0.1:54329/postgres"
ROWS = 10_000
ROUNDS = 7
OPTIONS = TableOptions("site")


def track_event(at: int) -> dict[str, str | int | float | bool | None]:
    """A flattened track event, about 700 bytes as JSON."""
    second = at // 200  # 200 events a second
    moment = f"2026-03-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return {
        "message_id": str(uuid.UUID(int=(at << 64) | (hash((at, "m")) & (2**62 - 1)))),
        "type": "track",
        "event": ("Product Viewed", "Product Added", "Order Completed")[at % 3],
        "anonymous_id": str(uuid.UUID(int=hash((at % 997, "a")) & (2**128 - 1))),
        "user_id": f"user-{at % 5000}" if at % 2 else None,
        "timestamp": f"{moment}.{at % 1000:03}Z",
        "sent_at": f"{moment}.{at % 997:03}Z",
        "received_at": f"{moment}.{at % 991:03}Z",
        "request_ip": f"203.0.{at % 113}.{at % 251}",
        "context_ip": f"203.0.{at % 113}.{at % 251}",
        "context_locale": "en-GB",
        "context_user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        f"Chrome/{120 + at % 9}.0.0.0 Safari/537.36",
        "context_library_name": "analytics.js",
        "context_library_version": "2.11.1",
        "context_page_url": f"https://shop.example.com/products/{at % 3000}?utm_source=newsletter",
        "context_page_path": f"/products/{at % 3000}",
        "context_page_title": f"Product {at % 3000} | Example Shop",
        "context_page_referrer": "https://www.example.org/search?q=shoes",
        "product_id": f"sku-{at % 3000}",
        "price": (at % 10_000) / 100,
        "quantity": at % 4,
        "in_stock": at % 5 != 0,
    }


def rows(first: int, count: int) -> list[Row]:
    return [Row(at, "events", track_event(at)) for at in range(first, first + count)]


class Baseline:
    """The same bytes into a table of the same shape, by hand."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", columns: list[str]) -> None:
        self._connection = connection
        self._columns = columns

    async def make(self) -> None:
        """Empty twin of `events`, with its indexes, and a staging table of the very same columns."""
        await self._connection.execute(
            "CREATE TABLE twin (LIKE events INCLUDING ALL);"
            "CREATE TEMP TABLE stage (LIKE events) ON COMMIT DELETE ROWS;"
            "CREATE TABLE mark (at bigint); INSERT INTO mark VALUES (0)"
        )

    async def load(self, encoded: Iterable[bytes]) -> float:
        """Seconds for one batch."""
        names = ", ".join(f'"{name}"' for name in self._columns)
        sets = ", ".join(
            f'"{n}" = EXCLUDED."{n}"' for n in self._columns if n not in ("_stream", "message_id")
        )
        started = time.perf_counter()
        async with self._connection.transaction():
            await self._connection.copy_to_table(
                "stage", columns=self._columns, format="binary", source=copy_stream(encoded, lambda: None)
            )
            await self._connection.execute(
                f"INSERT INTO twin ({names}) SELECT {names} FROM stage "
                f"ON CONFLICT (_stream, message_id) DO UPDATE SET {sets}"
            )
            await self._connection.execute("UPDATE mark SET at = at + 1")
        return time.perf_counter() - started


def destination_of(url: str) -> Destination:
    parts = urlsplit(url)
    return Destination(
        PostgresConfig(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 5432,
            database=parts.path.strip("/"),
            username=parts.username or "postgres",
            password=parts.password or "",
        )
    )


class Filler:
    """A link that flushes the same rows as any other, into the tables that `table` names for them."""

    def __init__(self, destination: Destination, name: str, options: TableOptions, tables: int = 1) -> None:
        self._destination = destination
        self._key = LinkKey("bench", name, 1)
        self._options = options
        self._tables = tables
        self._epoch = self._last = 0
        self.seconds: list[float] = []

    async def flush(self, batch: list[Row]) -> None:
        """Flush; the first one makes the tables and is not counted."""
        if not self._epoch:
            self._epoch = (await self._destination.take_over(self._key, LocalProgress(0, 0))).epoch
        name, end = self._key.link_id, batch[-1].offset
        rows = [Row(row.offset, f"{name}_{row.offset % self._tables}", row.values) for row in batch]
        flush = Batch(self._epoch, str(end), self._last, end, rows, b"", self._options)
        flushed = await self._destination.flush(self._key, flush)
        if self._last:
            self.seconds.append(flushed.seconds)
        self._last = end


async def contrast(url: str, one: tuple[TableOptions, int], other: tuple[TableOptions, int]) -> None:
    """The same batches in turns into tables of both kinds; the ratio of their speeds."""
    destination = destination_of(url)
    fillers = [Filler(destination, f"bench{n}", *kind) for n, kind in enumerate((one, other))]
    for round_number in range(ROUNDS + 1):
        for filler in fillers:
            await filler.flush(rows(1_000 + round_number * ROWS, ROWS))
    base_s, other_s = (statistics.median(filler.seconds) for filler in fillers)
    print(f"{ROWS / base_s:9.0f} rows/s against {ROWS / other_s:.0f}: ratio {base_s / other_s:.2f}")
    await destination.close()


async def compare(url: str) -> None:
    destination = destination_of(url)
    key = LinkKey("bench", "bench", 1)
    taken = await destination.take_over(key, LocalProgress(0, 0))
    epoch, last = taken.epoch, 0

    async def flush(batch: list[Row]) -> float:
        nonlocal last
        end = batch[-1].offset
        flushed = await destination.flush(key, Batch(epoch, str(end), last, end, batch, b"", OPTIONS))
        last = end
        return flushed.seconds

    await flush(rows(1, 100))
    plan = (await destination._tables.encode("events", rows(1, 1), OPTIONS, "bench")).plan
    baseline = Baseline(await asyncpg.connect(url), [column.name for column in plan.columns])
    await baseline.make()
    ours, least, encodes = [], [], []
    for round_number in range(ROUNDS):
        batch = rows(1_000 + round_number * ROWS, ROWS)
        started = time.perf_counter()
        encoding = Encoding(plan, batch, {}, fold=True)
        await encoding.run(0.002)
        encoded = list(encoding.rows())
        encodes.append(time.perf_counter() - started)
        least.append(await baseline.load(encoded))
        ours.append(await flush(batch))
    report(ours, least, encodes, sum(map(len, encoded)))
    await destination.close()
    await baseline._connection.close()


def report(ours: list[float], least: list[float], encodes: list[float], size: int) -> None:
    flush_s, baseline_s = statistics.median(ours), statistics.median(least)
    encode_us = statistics.median(encodes) / ROWS * 1e6
    print(f"rows {ROWS}, {size / ROWS:.0f} bytes a row encoded, {len(ours)} rounds, medians")
    print(f"flush     {flush_s * 1e3:7.1f} ms  {ROWS / flush_s:9.0f} rows/s")
    print(f"baseline  {baseline_s * 1e3:7.1f} ms  {ROWS / baseline_s:9.0f} rows/s")
    print(f"encode    {encode_us:7.2f} us a row")
    print(f"ratio     {baseline_s / flush_s:7.2f}")


async def main() -> None:
    admin_url = os.environ.get("PENSTOCK_TEST_DATABASE_URL", DEFAULT_URL)
    name = f"bench_warehouse_{uuid.uuid4().hex[:8]}"
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        url = admin_url.rpartition("/")[0] + f"/{name}"
        if "--by-day" in sys.argv:
            await contrast(url, (OPTIONS, 1), (TableOptions("site", partition="day"), 1))
        elif "--tables" in sys.argv:
            await contrast(url, (OPTIONS, 1), (OPTIONS, int(sys.argv[-1])))
        else:
            await compare(url)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


if __name__ == "__main__":
    if "--profile" in sys.argv:
        with cProfile.Profile() as profile:
            uvloop.run(main())
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    else:
        uvloop.run(main())
