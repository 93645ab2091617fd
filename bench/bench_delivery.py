"""Delivery as a whole, WAL to Postgres, against the least that Postgres has to do for the same rows.

Each round appends a backlog, lets a link with a primary key drain it, and loads the very same rows, encoded
beforehand, by binary COPY and INSERT … ON CONFLICT into an equal table with equal indexes. Rounds alternate,
so the ratio holds where the figures do not. Beside it: how late a timer on the loop fires meanwhile, which is
what a request would feel. Run: `python -m bench.bench_delivery`; with `--layouts` it measures instead what
each layout takes for a row, over segment-single-table, by turns on the same backlog.
PENSTOCK_TEST_DATABASE_URL names another server, in which a database is made and dropped.
"""

import asyncio
import io
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import orjson
import uvloop

from bench.bench_layout import LAYOUTS, TRACK
from server.clock import SystemClock
from server.collector import calm_collector
from server.delivery import Delivery, LinkConfig
from server.ingest import Decoded, Limits, RequestFacts, decode_batch, stream_seed
from server.warehouse import PostgresConfig
from storage import SWITCH_INTERVAL_S, Append, Store, StoreOptions

DEFAULT_URL: Final = "postgresql://postgres@127.0.0.1:54329/postgres"
DATABASE: Final = "penstock_bench_delivery"
STREAM: Final = "site"
EVENTS: Final = 150_000
ROUNDS: Final = 3
BATCH: Final = 6_000
_APPEND: Final = 2_000
_FACTS: Final = RequestFacts(0, "server", None, None, None, None, stream_seed(STREAM))


async def append(store: Store, first: int) -> None:
    """One round's backlog, through ingest."""
    body = {key: value for key, value in TRACK.items() if key not in ("receivedAt", "requestIp")}
    for at in range(first, first + EVENTS, _APPEND):
        batch = [body | {"messageId": f"01936f0e-0000-7000-8000-{n:012}"} for n in range(at, at + _APPEND)]
        decoded = decode_batch(orjson.dumps({"batch": batch}), _FACTS, Limits())
        assert isinstance(decoded, Decoded)
        await store.wal.append(Append(STREAM, decoded.head, decoded.items, decoded.ids)).durable()


LINK: Final = LinkConfig("bench", STREAM, "pg", 1, "stream")


async def deliver(
    store: Store, config: PostgresConfig, late_s: list[float], link: LinkConfig = LINK
) -> float:
    """Seconds until the backlog is delivered."""
    delivery = Delivery(store, [link], {"pg": config}, SystemClock())
    head = store.wal.head(STREAM)
    began_s = time.perf_counter()
    await delivery.start()
    while delivery.keep_after()[STREAM] < head:
        slept_s = time.perf_counter()
        await asyncio.sleep(0.005)
        late_s.append(time.perf_counter() - slept_s - 0.005)
    took_s = time.perf_counter() - began_s
    await delivery.stop(10)
    return took_s


class Baseline:
    """The same bytes into a table of the same shape, by hand."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._done = 0
        self._insert = ""

    async def make(self) -> None:
        """Empty twin of `events`, with its indexes, and a staging table of the very same columns."""
        await self._connection.execute(
            "CREATE TABLE twin (LIKE events INCLUDING ALL);"
            "CREATE TEMP TABLE stage (LIKE events) ON COMMIT DELETE ROWS"
        )
        found = await self._connection.fetch(
            "SELECT attname FROM pg_attribute "
            "WHERE attrelid = 'events'::regclass AND attnum > 0 AND NOT attisdropped"
        )
        sets = ", ".join(f'"{n}" = EXCLUDED."{n}"' for (n,) in found if n not in ("_stream", "message_id"))
        self._insert = (
            f"INSERT INTO twin SELECT * FROM stage ON CONFLICT (_stream, message_id) DO UPDATE SET {sets}"
        )

    async def load(self) -> float:
        """Seconds for the rows of the last round, in batches."""
        encoded = [await self._encoded(at) for at in range(self._done, self._done + EVENTS, BATCH)]
        self._done += EVENTS
        began_s = time.perf_counter()
        for batch in encoded:
            async with self._connection.transaction():
                await self._connection.copy_to_table("stage", format="binary", source=batch)
                await self._connection.execute(self._insert)
        return time.perf_counter() - began_s

    async def _encoded(self, at: int) -> io.BytesIO:
        data = io.BytesIO()
        query = f"SELECT * FROM events ORDER BY message_id OFFSET {at} LIMIT {BATCH}"
        await self._connection.copy_from_query(query, output=data, format="binary")
        data.seek(0)
        return data


def config_of(url: str) -> PostgresConfig:
    parts = urlsplit(url)
    return PostgresConfig(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 5432,
        database=DATABASE,
        username=parts.username or "postgres",
        password=parts.password or "",
    )


async def compare_layouts(url: str, folder: Path) -> None:
    """Each layout, a link and tables of its own, drains the same backlogs; prints medians and ratios."""
    store = Store.open(folder, StoreOptions(free_bytes_min=0), SystemClock())
    store.wal.start(asyncio.get_running_loop())
    took_s: dict[str, list[float]] = {name: [] for name in LAYOUTS}
    for at in range(ROUNDS):
        await append(store, at * EVENTS)
        for name in LAYOUTS:
            link = replace(LINK, id=name, layout=name, table_name=f"events_{name}")
            took_s[name].append(await deliver(store, config_of(url), [], link))
    await asyncio.to_thread(store.close)
    least = [took / EVENTS for took in took_s[LAYOUTS[0]]]
    for name in LAYOUTS:
        rows = EVENTS * (2 if name == "segment" else 1)
        per_row = [took / rows for took in took_s[name]]
        ratio = statistics.median(ours / base for ours, base in zip(per_row, least, strict=True))
        print(f"{name:21} {statistics.median(per_row) * 1e6:6.1f} µs/row {ratio:6.2f}")


async def compare(url: str, folder: Path) -> None:
    """Runs the rounds and prints the medians."""
    parts, config = urlsplit(url), config_of(url)
    store = Store.open(folder, StoreOptions(free_bytes_min=0), SystemClock())
    store.wal.start(asyncio.get_running_loop())
    baseline: Baseline | None = None
    ours: list[float] = []
    least: list[float] = []
    late_s: list[float] = []
    for at in range(ROUNDS):
        await append(store, at * EVENTS)
        ours.append(await deliver(store, config, late_s))
        if baseline is None:
            baseline = Baseline(await asyncpg.connect(urlunsplit(parts._replace(path=f"/{DATABASE}"))))
            await baseline.make()
        least.append(await baseline.load())
    assert baseline is not None
    await baseline._connection.close()
    await asyncio.to_thread(store.close)
    report(ours, least, sorted(late_s))


def report(ours: list[float], least: list[float], late_s: list[float]) -> None:
    print(f"{EVENTS} events a round, {ROUNDS} rounds, medians")
    print(f"delivery  {EVENTS / statistics.median(ours):9.0f} events/s")
    print(f"baseline  {EVENTS / statistics.median(least):9.0f} rows/s")
    print(f"ratio     {statistics.median(b / o for o, b in zip(ours, least, strict=True)):9.2f}")
    print(f"loop late {late_s[len(late_s) * 99 // 100] * 1e3:9.1f} ms (p99)")


async def main() -> None:
    url = os.environ.get("PENSTOCK_TEST_DATABASE_URL", DEFAULT_URL)
    admin = await asyncpg.connect(url)
    await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {DATABASE}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = compare_layouts if "--layouts" in sys.argv else compare
            await run(url, Path(folder))
    finally:
        await admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        await admin.close()


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    calm_collector()
    uvloop.run(main())
