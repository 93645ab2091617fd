"""What a table is like now: its columns, unique keys and partitions, and whether Penstock made it. Reads
only; ddl.py changes.

Penstock marks what it makes with comments: a table, so that names taken from events reach no table of
anyone else's; a unique index, so that it is known which link's primaryKey it carries out.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import asyncpg

from server.warehouse.connection import Session
from server.warehouse.copy import CellEncoder, cell_encoder
from server.warehouse.types import ColumnType, fit_check, wire_type

STREAM: Final = "_stream"
UNMAPPED: Final = "_unmapped_data"
RESERVED: Final = frozenset({STREAM, UNMAPPED})

TABLE_MARK: Final = "penstock: event table"
OWNED_BY: Final = f"{TABLE_MARK} of link "
KEY_MARK: Final = "penstock: merge key of link "

_TABLE = """
SELECT c.oid, c.relkind::text AS kind, c.relnatts AS columns_ever,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS comment
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
"""
_COLUMNS = """
SELECT a.attname::text AS name, a.atttypmod AS typmod, a.atthasdef OR a.attidentity <> '' AS has_default,
       a.attgenerated <> '' OR a.attidentity = 'a' AS generated,
       pg_catalog.format_type(a.atttypid, NULL) AS sql_type,
       EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum
               AND i.indisvalid AND i.indpred IS NULL) AS indexed,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text ELSE '' END AS type_name
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_KEYS = """
SELECT ic.relname::text AS index, i.indisprimary AS is_primary,
       coalesce(obj_description(i.indexrelid, 'pg_class'), '') AS comment,
       (SELECT array_agg(a.attname::text ORDER BY k.position)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.position <= i.indnkeyatts) AS columns
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, ic.relname
"""
_PARTITIONS = """
SELECT a.attname::text AS column, nullif(p.partdefid, 0)::regclass::text AS rest,
       ARRAY(SELECT pg_catalog.pg_get_expr(c.relpartbound, c.oid)
             FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = p.partrelid) AS bounds
FROM pg_catalog.pg_partitioned_table p
JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
WHERE p.partrelid = $1 AND p.partstrat = 'r' AND p.partnatts = 1
"""
_TABLES_OF = """
SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND obj_description(c.oid, 'pg_class') = $2
  AND NOT c.relname = ANY ($3)
"""
_PRESENT = """
SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2)
"""
_DAY = re.compile(r"'(\d{4}-\d{2}-\d{2})[ ']")  # the session's time zone is UTC
_CHARACTER_TYPES = ("varchar", "bpchar")
_TYPMOD_HEADER = 4


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an existing table.

    `exact`: the wire type is its type, so COPY can go straight into it. `checked`: it holds less than that.
    `indexed`: an index begins with it.
    """

    name: str
    wire: ColumnType
    exact: bool
    sql_type: str
    encode: CellEncoder
    checked: bool = False
    has_default: bool = False
    generated: bool = False
    indexed: bool = False

    @property
    def cast(self) -> str:
        """The SQL behind a staged value; character types are left to assignment, which refuses what is too
        long.
        """
        return "" if self.exact or self.sql_type.startswith("character") else f"::{self.sql_type}"


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A unique index that ON CONFLICT can use. `owner`: the link whose primaryKey it is; "" if Penstock did
    not make it.
    """

    index: str
    columns: tuple[str, ...]
    is_primary: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of a table by ranges of one column: (first day, day after the last) of each.

    `rest`: the default partition, quoted; None if there is none.
    """

    column: str
    ranges: tuple[tuple[date, date], ...]
    rest: str | None

    def cover(self, day: date) -> bool:
        """Whether a partition holds all of that UTC day."""
        return any(first <= day < end for first, end in self.ranges)


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as last read. Frozen: a change of the table makes a new shape.

    `columns_ever`: how many columns it had, dropped ones included: Postgres counts these too.
    """

    schema: str
    name: str
    kind: str
    ours: bool
    columns: dict[str, Column]
    keys: tuple[UniqueKey, ...]
    partitions: Partitions | None = None
    columns_ever: int = 0

    @property
    def partitioned(self) -> bool:
        return self.kind == "p"

    @property
    def loadable(self) -> bool:
        """A table; not a view, a sequence or a foreign table."""
        return self.kind in ("r", "p")


async def read_table(session: Session, schema: str, table: str) -> TableShape | None:
    """The table as it is now, or None."""
    connection = session.connection
    found = await session.step(connection.fetchrow(_TABLE, schema, table))
    if found is None:
        return None
    columns = await session.step(connection.fetch(_COLUMNS, found["oid"]))
    keys = await session.step(connection.fetch(_KEYS, found["oid"]))
    partitions = None
    if found["kind"] == "p":
        partitions = await session.step(connection.fetchrow(_PARTITIONS, found["oid"]))
    return TableShape(
        schema,
        table,
        found["kind"],
        found["comment"].startswith(TABLE_MARK),
        {record["name"]: _column(record) for record in columns},
        tuple(_key(record) for record in keys),
        None if partitions is None else _partitions(partitions),
        found["columns_ever"],
    )


async def count_tables(session: Session, schema: str, owner: str, free: Collection[str]) -> int:
    """How many tables were made for a link, without those of `free`."""
    asked = session.connection.fetchval(_TABLES_OF, schema, OWNED_BY + owner, list(free))
    found = await session.step(asked)
    return int(found)


async def present(session: Session, schema: str, tables: Sequence[str]) -> set[str]:
    """Which of the names are taken."""
    found = await session.step(session.connection.fetch(_PRESENT, schema, tables))
    return {record[0] for record in found}


def _partitions(record: asyncpg.Record) -> Partitions:
    ranges = [_range(bound) for bound in record["bounds"] if bound != "DEFAULT"]
    return Partitions(record["column"], tuple(ranges), record["rest"])


def _range(bound: str) -> tuple[date, date]:
    """FOR VALUES FROM ('2026-03-01 00:00:00+00') TO ('2026-03-02 00:00:00+00'), MINVALUE, MAXVALUE."""
    first, end = bound.split(") TO (")
    first_day, end_day = _DAY.search(first), _DAY.search(end)
    return (
        date.fromisoformat(first_day[1]) if first_day else date.min,
        date.fromisoformat(end_day[1]) if end_day else date.max,
    )


def _column(record: asyncpg.Record) -> Column:
    type_name = record["type_name"]
    wire, exact = wire_type(type_name)
    chars_max = None
    if type_name in _CHARACTER_TYPES and record["typmod"] >= _TYPMOD_HEADER:
        chars_max = record["typmod"] - _TYPMOD_HEADER
    check = fit_check(type_name, chars_max)
    return Column(
        record["name"],
        wire,
        exact,
        record["sql_type"],
        cell_encoder(wire, check),
        check is not None,
        record["has_default"],
        record["generated"],
        record["indexed"],
    )


def _key(record: asyncpg.Record) -> UniqueKey:
    comment = record["comment"]
    owner = comment.removeprefix(KEY_MARK) if comment.startswith(KEY_MARK) else ""
    return UniqueKey(record["index"], tuple(record["columns"]), record["is_primary"], owner)
