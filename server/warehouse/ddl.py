"""How a table grows: schema, table, columns, merge key, days; each change in its own short, idempotent
transaction.

Processes that change one table take turns by an advisory lock on its name, look again under the lock, and
do only what is still missing. Existing columns are never altered. A waiting lock gives up after
lock_timeout_s. Nothing relies on the names of indexes and partitions: those of a table that an operator
renames keep theirs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from secrets import token_hex
from typing import Final

from server.warehouse.connection import Session
from server.warehouse.errors import Unavailable
from server.warehouse.locks import advisory
from server.warehouse.names import own_name, quote, quote_literal
from server.warehouse.schema import KEY_MARK, OWNED_BY, STREAM, TableShape, UniqueKey, present, read_table
from server.warehouse.types import ColumnType

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a table must have.

    `key`: columns of a merge key to make, () if none; `spent`: indexes of the owner's former keys, to be
    dropped; `owner`: the link that wants it; `trusted`: whether a table that Penstock did not make may be
    changed; `seen`: it was there and is only to be changed, for a new one needs more than is said here.
    Only if the table is made now: `indexed`, a column to index; `by_day`, the column whose UTC days are its
    partitions, with those of `days` at once.
    """

    schema: str
    table: str
    columns: Mapping[str, ColumnType]
    key: tuple[str, ...] = ()
    spent: tuple[str, ...] = ()
    owner: str = ""
    seen: bool = False
    indexed: str | None = None
    trusted: bool = True
    by_day: str | None = None
    days: tuple[date, ...] = ()

    @property
    def target(self) -> str:
        return f"{quote(self.schema)}.{quote(self.table)}"


class Gone(Unavailable):
    """The table was dropped or renamed at this moment."""


async def make(session: Session, wanted: Wanted) -> TableShape:
    """Bring the table to what is wanted and read it again. Raises asyncpg's errors, Gone or Unavailable."""
    # A little longer than the server's own limit, so that its answer comes first.
    seconds = session.limits.ddl_timeout_s + session.limits.connect_timeout_s
    await session.execute(_begin(wanted, session.limits.ddl_timeout_s))
    before = await read_table(session, wanted.schema, wanted.table)
    if before is not None and not (before.ours or wanted.trusted):
        raise Unavailable(f"table {wanted.target} was made by somebody else at this moment")
    if before is None and wanted.seen:
        raise Gone(f"table {wanted.target} vanished before it was changed")
    if before is None:
        parts = await _part_names(session, wanted, (None, *wanted.days)) if wanted.by_day else {}
        statements = await _schema(session, wanted.schema) + _create(wanted, parts)
    else:
        statements = _grow(wanted, before)
    if statements:
        await session.execute(";".join(statements), seconds)
    await session.execute("COMMIT")
    after = await read_table(session, wanted.schema, wanted.table)
    if after is None:
        raise Gone(f"table {wanted.target} vanished after it was made")
    return after


def _begin(wanted: Wanted, seconds: float, lock_timeout_s: float | None = None) -> str:
    lock = "" if lock_timeout_s is None else f"SET LOCAL lock_timeout = {int(lock_timeout_s * 1000)}; "
    return (
        f"BEGIN; SET LOCAL statement_timeout = {int(seconds * 1000)}; {lock}"
        f"SELECT pg_advisory_xact_lock({advisory(wanted.target)})"
    )


async def _schema(session: Session, schema: str) -> list[str]:
    # CREATE SCHEMA IF NOT EXISTS asks for the right to create even if there is nothing to do.
    present = await session.step(
        session.connection.fetchval("SELECT true FROM pg_catalog.pg_namespace WHERE nspname = $1", schema)
    )
    return [] if present else [f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}"]


def _create(wanted: Wanted, parts: Mapping[date | None, str]) -> list[str]:
    columns = [f"{quote(STREAM)} text NOT NULL DEFAULT ''"]
    columns += [f"{quote(name)} {kind.value}" for name, kind in wanted.columns.items() if name != STREAM]
    by = f" PARTITION BY RANGE ({quote(wanted.by_day)})" if wanted.by_day else ""
    statements = [
        f"CREATE TABLE {wanted.target} ({', '.join(columns)}){by}",
        f"COMMENT ON TABLE {wanted.target} IS {quote_literal(OWNED_BY + wanted.owner)}",
    ]
    if wanted.by_day is not None:
        statements.append(f"CREATE INDEX ON {wanted.target} USING brin ({quote(wanted.by_day)})")
        for day, part in parts.items():
            statements.append(f"CREATE TABLE {part} PARTITION OF {wanted.target} {_bounds(day)}")
    if wanted.indexed is not None:
        statements.append(f"CREATE INDEX ON {wanted.target} ({quote(wanted.indexed)})")
    return statements + (_unique(wanted) if wanted.key else [])


def _grow(wanted: Wanted, shape: TableShape) -> list[str]:
    missing = {name: kind for name, kind in wanted.columns.items() if name not in shape.columns}
    adds = [
        f"ADD COLUMN {quote(name)} text NOT NULL DEFAULT ''"
        if name == STREAM
        else f"ADD COLUMN {quote(name)} {kind.value}"
        for name, kind in missing.items()
    ]
    statements = [f"ALTER TABLE {wanted.target} {', '.join(adds)}"] if adds else []
    if wanted.key and not any(key.columns == wanted.key for key in shape.keys):
        return statements + [_drop(wanted, key) for key in shape.keys if key.owner] + _unique(wanted)
    spent = [key for key in shape.keys if key.index in wanted.spent and key.owner == wanted.owner]
    return statements + [_drop(wanted, key) for key in spent]


def _drop(wanted: Wanted, key: UniqueKey) -> str:
    """The key that the same link made for its former primaryKey gives way; another link's does not."""
    if key.owner != wanted.owner:
        raise Unavailable(
            f"table {wanted.target} is merged by ({', '.join(key.columns)}) for link {key.owner}; "
            f"link {wanted.owner} wants ({', '.join(wanted.key)})",
            f"give both links the same primaryKey, use another table, or drop index {quote(key.index)}",
        )
    return f"DROP INDEX {quote(wanted.schema)}.{quote(key.index)}"


def _unique(wanted: Wanted) -> list[str]:
    index = quote(f"penstock:key:{token_hex(8)}")
    columns = ", ".join(quote(name) for name in wanted.key)
    return [
        f"CREATE UNIQUE INDEX {index} ON {wanted.target} ({columns})",
        f"COMMENT ON INDEX {quote(wanted.schema)}.{index} IS {quote_literal(KEY_MARK + wanted.owner)}",
    ]


def digest(what: object) -> str:
    return blake2b(repr(what).encode(errors="replace"), digest_size=8).hexdigest()


async def _part_names(
    session: Session, wanted: Wanted, days: Iterable[date | None]
) -> dict[date | None, str]:
    """What partitions of these days are to be called, quoted; of None: the one for all that has no day.

    A name that is taken, by a partition of a renamed table or by one that was detached, gets an ending.
    """
    purposes = {day: "default" if day is None else f"{day:%Y%m%d}" for day in days}
    names = {day: own_name(wanted.table, purpose) for day, purpose in purposes.items()}
    taken = await present(session, wanted.schema, list(names.values()))
    ending = token_hex(4)
    for day, name in names.items():
        if name in taken:
            names[day] = own_name(wanted.table, f"{purposes[day]}:{ending}")
    return {day: f"{quote(wanted.schema)}.{quote(name)}" for day, name in names.items()}


def _bounds(day: date | None) -> str:
    """No row is ever without a partition: odd days, and rows without the time, go to the default one."""
    if day is None:
        return "DEFAULT"
    first, end = _instants(day)
    return f"FOR VALUES FROM ({first}) TO ({end})"


def _instants(day: date) -> tuple[str, str]:
    """When it begins and ends."""
    return quote_literal(f"{day} 00:00:00+00"), quote_literal(f"{day + _DAY} 00:00:00+00")


async def add_day(session: Session, shape: TableShape, day: date) -> TableShape:
    """Give a table of ours the partition of a day, and move there what waits in the default partition.

    Only that partition is locked against others, and only as long as `upkeep_lock_timeout_s` waits for it.
    Raises asyncpg's errors; the table is then as it was.
    """
    assert shape.partitions is not None, "asked for tables that are partitioned"
    parent = Wanted(shape.schema, shape.name, {})
    by = quote(shape.partitions.column)
    first, end = _instants(day)
    names = ", ".join(quote(column.name) for column in shape.columns.values() if not column.generated)
    limits = session.limits
    await session.execute(_begin(parent, limits.ddl_timeout_s, limits.upkeep_lock_timeout_s))
    now = await read_table(session, shape.schema, shape.name)
    if now is not None and now.partitions is not None and not now.partitions.cover(day):
        parts = await _part_names(session, parent, (None, day))
        part, rest = parts[day], now.partitions.rest or parts[None]
        statements = [
            *([] if now.partitions.rest else [f"CREATE TABLE {rest} PARTITION OF {parent.target} DEFAULT"]),
            f"LOCK TABLE ONLY {rest} IN ACCESS EXCLUSIVE MODE",
            # Not PARTITION OF: that would lock the whole table, and every reader with it.
            f"CREATE TABLE {part} "
            f"(LIKE {parent.target} INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS)",
            f"WITH moved AS (DELETE FROM {rest} WHERE {by} >= {first} AND {by} < {end} RETURNING {names}) "
            f"INSERT INTO {part} ({names}) SELECT {names} FROM moved",
            f"ALTER TABLE {parent.target} ATTACH PARTITION {part} {_bounds(day)}",
        ]
        await session.execute(";".join(statements), limits.ddl_timeout_s + limits.connect_timeout_s)
    await session.execute("COMMIT")
    after = await read_table(session, shape.schema, shape.name)
    if after is None:
        raise Unavailable(f"table {parent.target} vanished")
    return after
