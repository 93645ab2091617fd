"""A box without its HTTP side: a real store, delivery into a real Postgres, and the record of what was
appended.

`crash` starts the same in a child process and kills it with SIGKILL at the moment a fault proxy says; what it
left is opened by a new Box, as a restart does.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from server.clock import SystemClock
from server.delivery import Delivery, LinkConfig, LinkState, LinkStatus, Patience
from server.delivery.stamps import LayoutName
from server.ingest import Decoded, RequestFacts, decode_batch, stream_seed
from server.ingest import Limits as EventLimits
from server.warehouse import Limits, PostgresConfig
from storage import Append, Store, StoreOptions

LIMIT_S = 30.0
STREAM = "site"
LINK = LinkConfig("link", STREAM, "pg", generation=1, mode="stream", flush_interval_s=0.01)
PATIENCE = Patience(retry_first_s=0.01, retry_cap_s=0.05, pause_first_s=0.05, pause_cap_s=0.1)
OPTIONS = StoreOptions(free_bytes_min=0)
IMPATIENT = Limits(lock_timeout_s=0.2)


def config_of(url: str, port: int | None = None) -> PostgresConfig:
    """The destination of a database URL, by way of a proxy on `port` if one is given."""
    parts = urlsplit(url)
    return PostgresConfig(
        host="127.0.0.1" if port else parts.hostname or "127.0.0.1",
        port=port or parts.port or 5432,
        database=parts.path.lstrip("/"),
        username=unquote(parts.username or "postgres"),
        password=unquote(parts.password or ""),
        sslmode="disable",
    )


def bodies(ids: Sequence[str], **properties: Any) -> list[dict[str, Any]]:
    """Track events with these message ids."""
    return [
        {"type": "track", "event": "e", "messageId": id_, "anonymousId": "a", "properties": properties}
        for id_ in ids
    ]


async def append(store: Store, events: Sequence[dict[str, Any]], stream: str = STREAM) -> None:
    """Through ingest into the WAL, as of a server key; durable on return."""
    facts = RequestFacts(SystemClock().wall_ms(), "server", None, None, None, None, stream_seed(stream))
    decoded = decode_batch(json.dumps({"batch": list(events)}).encode(), facts, EventLimits())
    assert isinstance(decoded, Decoded)
    assert not decoded.errors
    await store.wal.append(Append(stream, decoded.head, decoded.items, decoded.ids)).durable()


async def until(holds: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Waits for a condition that other tasks bring about; TimeoutError after LIMIT_S."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            result = holds()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.005)


@dataclass
class Box:
    """An open store and running delivery. `links` may go to several destinations."""

    store: Store
    delivery: Delivery
    links: list[LinkConfig] = field(default_factory=list)

    def status(self, link_id: str = LINK.id) -> LinkStatus:
        return next(status for status in self.delivery.status() if status.link_id == link_id)

    async def drained(self, link_id: str = LINK.id) -> None:
        """Waits until everything committed is delivered, dead-lettered or dropped on that link, and its
        status says so: the books are a turn of the loop ahead of it.
        """
        await until(lambda: self._is_drained(self.status(link_id)))

    def _is_drained(self, status: LinkStatus) -> bool:
        landed = status.checkpoint >= self.store.wal.head(status.stream_id)
        return landed and status.state is not LinkState.FLUSHING

    async def in_state(self, state: LinkState, link_id: str = LINK.id) -> LinkStatus:
        await until(lambda: self.status(link_id).state is state)
        return self.status(link_id)


@asynccontextmanager
async def opened(path: Path, clock: SystemClock | None = None) -> AsyncIterator[Store]:
    """A store, open and running."""
    store = await asyncio.to_thread(Store.open, path, OPTIONS, clock or SystemClock())
    store.wal.start(asyncio.get_running_loop())
    try:
        yield store
    finally:
        await asyncio.to_thread(store.close)


@asynccontextmanager
async def running(
    path: Path,
    destinations: dict[str, PostgresConfig],
    links: Sequence[LinkConfig] = (LINK,),
    stop_s: float = 10.0,
    limits: Limits | None = None,
) -> AsyncIterator[Box]:
    """A box that delivers; stopped in order at the end."""
    async with opened(path) as store:
        delivery = Delivery(store, links, destinations, SystemClock(), patience=PATIENCE, limits=limits)
        await delivery.start()
        try:
            yield Box(store, delivery, list(links))
        finally:
            await delivery.stop(stop_s)


async def fill(path: Path, events: Sequence[dict[str, Any]], clock: SystemClock | None = None) -> None:
    """Appends to a store that nobody has open."""
    async with opened(path, clock) as store:
        await append(store, events)


@asynccontextmanager
async def crashing(path: Path, url: str, port: int, layout: LayoutName = LINK.layout) -> AsyncIterator[None]:
    """A box in a child process, delivering by way of the proxy on `port`; killed with SIGKILL at the end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.delivery.box",
        str(path),
        url,
        str(port),
        layout,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            assert await child.stdout.readline() == b"delivering\n"
        yield
    finally:
        child.kill()
        await child.communicate()


async def fetch(url: str, sql: str) -> list[asyncpg.Record]:
    """One query on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


async def message_ids(url: str, table: str = "events", column: str = "message_id") -> list[str]:
    """What landed, sorted; repeats included. `column` is where the layout has the message id."""
    rows = await fetch(url, f'SELECT "{column}" FROM "{table}" ORDER BY 1')
    return [row[column] for row in rows]


def without_key(link: LinkConfig = LINK) -> LinkConfig:
    """The link without a merge key: a row that is loaded twice is there twice, so nothing hides a repeat."""
    return replace(link, deduplicate=False, primary_key=())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a track event `e` of `bodies` lands: every table with a row of it, and the names of columns."""

    tables: tuple[str, ...]
    id: str
    n: str


PLACES: dict[LayoutName, Place] = {
    "segment-single-table": Place(("events",), "message_id", "n"),
    "segment": Place(("tracks", "e"), "message_id", "n"),
    "jitsu-legacy": Place(("events",), "eventn_ctx_event_id", "n"),
    "passthrough": Place(("events",), "messageId", "properties_n"),
}
OTHERS: tuple[LayoutName, ...] = ("segment", "jitsu-legacy", "passthrough")


async def landed(url: str, layout: LayoutName) -> list[str]:
    """As `message_ids`; the tables of a layout that has several hold the same ones."""
    place = PLACES[layout]
    found = []
    for table in place.tables:
        rows = await fetch(url, f'SELECT "{place.id}" FROM "{table}" ORDER BY 1')
        found.append([row[0] for row in rows])
    assert all(ids == found[0] for ids in found), "an event has all of its rows or none"
    return found[0]


def by_layout(steps: Iterable[str], quick: Sequence[str]) -> list[Any]:
    """(layout, step) for parametrize: every step for the default layout, of the others `quick` ones, the rest
    of them in the long run.
    """
    steps = list(steps)
    cases = [pytest.param(LINK.layout, step, id=step) for step in steps]
    for layout in OTHERS:
        for step in steps:
            marks = [] if step in quick else [pytest.mark.long]
            cases.append(pytest.param(layout, step, id=f"{layout}: {step}", marks=marks))
    return cases


BATCHED = replace(without_key(), batch_events_max=600)


async def _child(path: str, url: str, port: str, layout: LayoutName) -> None:
    link = replace(BATCHED, layout=layout)
    async with running(Path(path), {"pg": config_of(url, int(port))}, [link], limits=IMPATIENT):
        print("delivering", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_child(*sys.argv[1:]))  # type: ignore[arg-type]
