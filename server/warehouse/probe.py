"""The real test of a destination: connect, create, insert, read, drop; nothing is left behind."""

import uuid
from dataclasses import dataclass

from server.warehouse.connection import PostgresConfig, Session
from server.warehouse.errors import TRANSLATED, Unavailable, unavailable
from server.warehouse.names import quote, quote_literal


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. `version` is the server's own words."""

    version: str
    schema_exists: bool


async def probe(session: Session, config: PostgresConfig) -> Probe:
    """Do, in a transaction that is rolled back, what deliveries do. Raises Unavailable naming the missing
    right.
    """
    version = await _ask(session, "SELECT version()")
    await _run(session, "begin a transaction", "BEGIN")
    if await _ask(session, "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"):
        raise Unavailable("the server is read-only", "point the destination at the primary", "25006")
    await _penstock_schema(session)
    exists = bool(
        await _ask(session, f"SELECT to_regnamespace({quote_literal(quote(config.schema))}) IS NOT NULL")
    )
    if not exists:
        await _run(session, f"create schema {quote(config.schema)}", f"CREATE SCHEMA {quote(config.schema)}")
    table = f"{quote(config.schema)}.{quote(f'penstock_probe_{uuid.uuid4().hex}')}"
    await _run(
        session,
        f"create a table in schema {quote(config.schema)}",
        f"CREATE TABLE {table} (id text PRIMARY KEY)",
    )
    await _run(
        session,
        "insert a row",
        f"INSERT INTO {table} VALUES ('probe') ON CONFLICT (id) DO UPDATE SET id = EXCLUDED.id",
    )
    await _run(
        session, "create a temporary table", "CREATE TEMP TABLE penstock_probe (id text) ON COMMIT DROP"
    )
    await _run(session, "drop the table", f"DROP TABLE {table}")
    await _run(session, "end the transaction", "ROLLBACK")
    return Probe(str(version), exists)


async def _penstock_schema(session: Session) -> None:
    if await _ask(session, "SELECT to_regclass('penstock.progress') IS NOT NULL"):
        await _run(session, "read penstock.progress", "SELECT 1 FROM penstock.progress LIMIT 1 FOR UPDATE")
    elif not await _ask(session, "SELECT to_regnamespace('penstock') IS NOT NULL"):
        await _run(session, "create schema penstock", "CREATE SCHEMA penstock")


async def _ask(session: Session, sql: str) -> object:
    try:
        return await session.step(session.connection.fetchval(sql))
    except TRANSLATED as error:
        raise unavailable("ask the server", error) from error


async def _run(session: Session, doing: str, sql: str) -> None:
    try:
        await session.execute(sql)
    except TRANSLATED as error:
        raise unavailable(f"cannot {doing}", error) from error
