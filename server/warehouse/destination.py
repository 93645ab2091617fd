"""One Postgres destination: the only door of this package.

A flush prepares (encode, grow the tables), then does everything in one transaction: lock the progress row,
load, move the progress row and store the outcome, COMMIT. It either landed as a whole or left nothing. A
first failure that a stale schema could explain is tried once more with tables read anew; what still looks
like the fault of a row is located row by row (locate.py). Everything asyncpg raises is translated here, at
the edge. Runs on the event-loop thread.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter

from server.warehouse import locks, merge, progress
from server.warehouse.batch import Batch, Flushed, Inherited, LinkKey, LocalProgress, Takeover
from server.warehouse.connection import Connections, PostgresConfig, Session
from server.warehouse.drift import TableChanged, require_types
from server.warehouse.encode import Breathe, Encoded, Encoding
from server.warehouse.errors import (
    TRANSLATED,
    Unavailable,
    is_repeat,
    is_row_fault,
    is_stale,
    unavailable,
)
from server.warehouse.limits import Limits
from server.warehouse.locate import locate
from server.warehouse.locks import TableLocked, touching
from server.warehouse.merge import Staging
from server.warehouse.names import table_name
from server.warehouse.plan import Plan
from server.warehouse.probe import Probe, probe
from server.warehouse.rows import AnyRow, TableOptions
from server.warehouse.tables import Tables
from server.warehouse.upkeep import Upkeep

__all__ = ["Counters", "Destination", "Probe"]

_MADE_MEANWHILE = ("23505", "42P06")
"""Somebody else made the same schema at the same moment: when asked again, it is there."""


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    flushes: int = 0
    rows: int = 0
    bytes: int = 0
    unmapped_values: int = 0
    columns_added: int = 0
    overflow_values: int = 0
    overflow_rows: int = 0
    flush_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Load:
    """One table's part of a batch."""

    plan: Plan
    encoding: Encoding
    staging: Staging | None


class Destination:
    """A warehouse. Safe for concurrent flushes of different links; one link flushes one batch at a time."""

    def __init__(
        self, config: PostgresConfig, connections_max: int = 2, limits: Limits | None = None
    ) -> None:
        self.config = config
        self.counters = Counters()
        self._limits = limits or Limits()
        self._connections = Connections(config, connections_max, self._limits)
        self._tables = Tables(config.schema, self._connections, self._limits)
        self._upkeep = Upkeep(self._connections, self._limits, self._tables.learned)
        self._landing: set[LinkKey] = set()

    async def open(self) -> None:
        """Nothing is connected before the first use: one that is down must not hold up the start."""

    async def close(self) -> None:
        """End every connection; a flush under way ends in Unavailable."""
        await self._upkeep.close()
        await self._connections.close()

    @property
    def warnings(self) -> list[str]:
        """What tables lack that was asked for (an index, partitions), in sentences; also logged, once."""
        return list(self._upkeep.warnings.values())

    async def probe(self) -> Probe:
        """Connect, create, insert, drop. Raises Unavailable with a hint that says what to fix."""
        try:
            return await self._probe()
        except Unavailable as error:
            if error.sqlstate not in _MADE_MEANWHILE:
                raise
        return await self._probe()

    async def _probe(self) -> Probe:
        async with self._connections.turn() as session:
            return await probe(session, self.config)

    async def take_over(self, key: LinkKey, local: LocalProgress) -> Takeover:
        """Become the owner of a link: raise its epoch, and say where to go on. Raises Unavailable."""
        try:
            async with self._connections.turn() as session:
                await progress.create(session)
                here = await progress.fingerprint(session, self.config.schema)
                return await progress.take_over(session, key, local, here)
        except TRANSLATED as error:
            raise unavailable(f"take over link {key.link_id} at {self.config.place}", error) from error

    async def inherit(self, key: LinkKey, former_ids: Sequence[str]) -> Inherited | None:
        """What the first of these stores that has a progress row did for the link; it can do no more then.
        None if none has, or the link has a row of its own. Raises Unavailable.
        """
        try:
            async with self._connections.turn() as session:
                await progress.create(session)
                here = await progress.fingerprint(session, self.config.schema)
                return await progress.inherit(session, key, former_ids, here)
        except TRANSLATED as error:
            doing = f"look for the progress of link {key.link_id} before the restore at {self.config.place}"
            raise unavailable(doing, error) from error

    async def encode_ahead(
        self, link_id: str, rows: Sequence[AnyRow], options: TableOptions, breathe: Breathe
    ) -> Encoded | None:
        """What `Batch.encoded` takes, so that encoding and the flush before it overlap. Asks the server
        nothing; None when the tables are not known well enough, then the flush encodes.
        """
        encoded: dict[str, Encoding] = {}
        for table, part in _by_table(rows).items():
            encoding = await self._tables.encode_ahead(table, part, options, link_id, breathe)
            if encoding is None:
                return None
            encoded[table] = encoding
        return encoded

    async def flush(self, key: LinkKey, batch: Batch) -> Flushed:
        """Land the batch, all of it or nothing. Raises RowsRefused, Foreign, Unavailable (or OutOfStep)."""
        started_s = time.perf_counter()
        grouped = _by_table(batch.rows)
        columns_before = self._tables.columns_added
        try:
            grouped, overflow_rows = await self._tables.admit(grouped, batch.options, key.link_id)
            flushed = await self._flush(key, batch, grouped)
        except TableLocked as error:
            raise await self._told(error) from error
        except (*TRANSLATED, TableChanged) as error:
            self._tables.forget(list(grouped))
            raise unavailable(f"flush to {self.config.place}", error) from error
        result = replace(
            flushed,
            columns_added=self._tables.columns_added - columns_before,
            seconds=time.perf_counter() - started_s,
            overflow_rows=0 if flushed.already_landed else overflow_rows,
        )
        self._count(result)
        return result

    def is_landing(self, key: LinkKey) -> bool:
        """Whether the transaction of a flush under this key is open: cut now, its batch may be in doubt. A
        flush that still waits for a connection, or makes tables, has none.
        """
        return key in self._landing

    async def still_locked(self, locked: TableLocked) -> TableLocked | None:
        """None if the table could be written now; does not wait for its lock. Raises Unavailable."""
        try:
            async with self._connections.turn() as session:
                if await locks.is_free(session, locked):
                    return None
                by = await locks.holder(session, locked)
                return TableLocked(locked.schema, locked.table, locked.change, by)
        except TRANSLATED as error:
            raise unavailable(f"look at table {locked.table} at {self.config.place}", error) from error

    async def _told(self, locked: TableLocked) -> TableLocked:
        """The same with who holds the table, if the server can be asked."""
        try:
            async with self._connections.turn() as session:
                by = await locks.holder(session, locked)
        except (*TRANSLATED, Unavailable):
            by = ""
        return TableLocked(locked.schema, locked.table, locked.change, by)

    async def _flush(self, key: LinkKey, batch: Batch, grouped: dict[str, list[AnyRow]]) -> Flushed:
        careful = False
        for last_try in (False, False, True):
            try:
                return await self._attempt(key, batch, grouped, careful)
            except (*TRANSLATED, TableChanged) as error:
                row_fault = is_row_fault(error) or is_repeat(error)
                if last_try or not (row_fault or isinstance(error, TableChanged) or is_stale(error)):
                    raise
                careful = careful or row_fault
                self._tables.forget(list(grouped))
        raise AssertionError("the last try returns or raises")

    async def _attempt(
        self, key: LinkKey, batch: Batch, grouped: dict[str, list[AnyRow]], careful: bool
    ) -> Flushed:
        loads = [
            await self._load(table, rows, batch, key.link_id, careful)
            for table, rows in sorted(grouped.items())
        ]
        merge.share([load.staging for load in loads if load.staging is not None])
        async with self._connections.turn() as session:
            for load in loads:
                if load.staging is not None:
                    await load.staging.prepare(session)
            with self._open_for(key):
                landed = await self._transact(session, key, batch, loads, careful)
        if not landed:
            return Flushed(0, 0, 0, 0, 0.0, already_landed=True)
        encodings = [load.encoding for load in loads]
        return Flushed(
            sum(encoding.count for encoding in encodings),
            sum(encoding.size for encoding in encodings),
            sum(encoding.unmapped_values for encoding in encodings),
            columns_added=0,
            seconds=0.0,
            overflow_values=sum(encoding.overflow_values for encoding in encodings),
        )

    async def _transact(
        self, session: Session, key: LinkKey, batch: Batch, loads: Sequence[_Load], careful: bool
    ) -> bool:
        """False: this very batch has landed before."""
        if not await progress.begin(session, key, batch):
            return False
        if careful:
            await locate(
                session, [(load.plan, load.staging, load.encoding) for load in loads if load.staging]
            )
        else:
            for load in loads:
                with touching(load.plan.shape.schema, load.plan.shape.name):
                    await merge.load(session, load.plan, load.staging, load.encoding.rows())
        await require_types(session, [load.plan for load in loads])
        await progress.advance(session, key, batch)
        await _commit(session, f"commit a batch to {self.config.place}")
        return True

    @contextmanager
    def _open_for(self, key: LinkKey) -> Iterator[None]:
        self._landing.add(key)
        try:
            yield
        finally:
            self._landing.discard(key)

    async def _load(
        self, table: str, rows: Sequence[AnyRow], batch: Batch, owner: str, careful: bool
    ) -> _Load:
        shape = await self._tables.reachable(table, rows, batch.options)
        if shape is not None:
            await self._upkeep.look_after(shape, rows, batch.options)
        encoding = (batch.encoded or {}).get(table)
        if encoding is None or careful or not self._tables.is_current(encoding.plan):
            encoding = await self._tables.encode(table, rows, batch.options, owner, fold=not careful)
        plan = encoding.plan
        straight = plan.key is None and plan.exact and not plan.defaulted_cells and not careful
        return _Load(plan, encoding, None if straight else Staging(plan))

    def _count(self, flushed: Flushed) -> None:
        counters = self.counters
        counters.flushes += 1
        counters.rows += flushed.rows
        counters.bytes += flushed.bytes
        counters.unmapped_values += flushed.unmapped_values
        counters.columns_added += flushed.columns_added
        counters.overflow_values += flushed.overflow_values
        counters.overflow_rows += flushed.overflow_rows
        counters.flush_s += flushed.seconds


def _by_table(rows: Sequence[AnyRow]) -> dict[str, list[AnyRow]]:
    """The rows of each table in offset order; the names are those of the tables."""
    named: dict[str, list[AnyRow]] = {}
    for row in rows:
        named.setdefault(row.table, []).append(row)
    tables: dict[str, list[AnyRow]] = {}
    for raw, part in named.items():
        tables.setdefault(table_name(raw), []).extend(part)
    for part in tables.values():
        part.sort(key=attrgetter("offset"))
    return tables


async def _commit(session: Session, doing: str) -> None:
    """COMMIT. Whatever goes wrong here, nobody knows whether the batch landed, and the connection is thrown
    away.
    """
    try:
        tag = await session.execute("COMMIT")
    except TRANSLATED as error:
        raise unavailable(doing, error, in_doubt=True) from error
    if tag != "COMMIT":
        raise Unavailable(f"{doing}: the server answered {tag}", in_doubt=True)
