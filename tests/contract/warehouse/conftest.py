"""A real Postgres behind every test here: destinations, rows, and a second pair of eyes (`sql`)."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from server.warehouse import (
    Batch,
    Destination,
    Flushed,
    Limits,
    LinkKey,
    LocalProgress,
    PostgresConfig,
    Row,
    TableOptions,
    Value,
)

# Short enough for a test that runs into them, long enough for a busy machine.
LIMITS = Limits(lock_timeout_s=1.0, stall_timeout_s=3.0, connect_timeout_s=10.0)
OPTIONS = TableOptions("site")


class Link:
    """One link that flushes rows one batch after another, numbering offsets itself."""

    def __init__(self, destination: Destination, key: LinkKey, options: TableOptions) -> None:
        self.destination = destination
        self.key = key
        self.options = options
        self.epoch = 0
        self.last = 0

    async def take_over(self) -> "Link":
        taken = await self.destination.take_over(self.key, LocalProgress(self.epoch, self.last))
        self.key, self.epoch, self.last = taken.key, taken.epoch, taken.resume_after
        return self

    def batch(self, values: Iterable[dict[str, Value]], table: str = "events", outcome: bytes = b"") -> Batch:
        rows = [Row(self.last + at, table, row) for at, row in enumerate(values, 1)]
        end = self.last + max(1, len(rows))
        return Batch(self.epoch, f"b{end}", self.last, end, rows, outcome, self.options)

    async def flush(self, *values: dict[str, Value], table: str = "events") -> Flushed:
        return await self.land(self.batch(values, table))

    async def land(self, batch: Batch) -> Flushed:
        flushed = await self.destination.flush(self.key, batch)
        self.last = batch.last_offset
        return flushed


def config_of(url: str) -> PostgresConfig:
    parts = urlsplit(url)
    return PostgresConfig(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 5432,
        database=parts.path.strip("/"),
        username=unquote(parts.username or "postgres"),
        password=unquote(parts.password or ""),
        sslmode="prefer",
    )


@pytest.fixture
def config(database: str) -> PostgresConfig:
    return config_of(database)


@pytest.fixture
async def make_destination(config: PostgresConfig) -> AsyncIterator[Callable[..., Destination]]:
    made: list[Destination] = []

    def make(limits: Limits = LIMITS, **changes: object) -> Destination:
        made.append(Destination(replace(config, **changes), 2, limits))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for destination in made:
        await destination.close()


@pytest.fixture
def destination(make_destination: Callable[..., Destination]) -> Destination:
    return make_destination()


@pytest.fixture
async def link(destination: Destination) -> Link:
    return await Link(destination, LinkKey("store", "link", 1), OPTIONS).take_over()


@pytest.fixture
async def make_link(destination: Destination) -> Callable[..., object]:
    async def make(name: str = "other", on: Destination = destination, **options: object) -> Link:
        changed = replace(OPTIONS, **options)  # type: ignore[arg-type]
        return await Link(on, LinkKey("store", name, 1), changed).take_over()

    return make


@pytest.fixture
async def sql(database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database)
    # Where the role is called penstock, "$user" would be our own schema.
    await connection.execute("SET search_path = public")
    yield connection
    await connection.close()
