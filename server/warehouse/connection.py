"""Connections to one Postgres: few, opened when needed, given out in turn, thrown away at the first doubt.

`Connections.turn()` is the only way to one. Waiting is first come, first served: every link of a
destination has at most one flush under way, so links take turns. A turn that ends in anything but a clean
server error ends the connection too: a connection whose COMMIT failed, or that was cut or cancelled in the
middle of a step, is never used again. All of it runs on the event-loop thread.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import asyncpg

from server.warehouse.errors import (
    TRANSLATED,
    Unavailable,
    WarehouseError,
    is_stale,
    may_try_other_way,
    unavailable,
)
from server.warehouse.limits import Limits
from server.warehouse.names import NAME_BYTES_MAX
from server.warehouse.tls import SSL_MODES, Way, ways_in

_Answer = TypeVar("_Answer")

_TLS_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword")
_OURS = frozenset({*_TLS_OPTIONS, "connect_timeout"})
_ENCODINGS = ("UTF8", "SQL_ASCII")  # the latter keeps bytes as they come
_ENCODING_HINT = "names and texts of events are in any script: deliver to a database that is UTF8"


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """Where the tables are and how to get in.

    `sslrootcert`, `sslcert` and `sslkey` are file paths or PEM text; `sslrootcert` may be `system`.
    `parameters` are libpq's words; they win over the fields of the same name, and what is not about the
    connection itself is set on the session.
    """

    host: str = "127.0.0.1"
    port: int = 5432
    database: str = "postgres"
    schema: str = "public"
    username: str = "postgres"
    password: str = field(default="", repr=False)
    sslmode: str = "prefer"
    sslrootcert: str = ""
    sslcert: str = ""
    sslkey: str = field(default="", repr=False)
    sslpassword: str = field(default="", repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.schema.encode()) > NAME_BYTES_MAX:
            raise ValueError(f"schema is longer than {NAME_BYTES_MAX} bytes")
        if self.tls["sslmode"] not in SSL_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(SSL_MODES)}")

    @property
    def tls(self) -> dict[str, str]:
        """The options of `tls.ways_in`."""
        return {name: str(self.parameters.get(name) or getattr(self, name)) for name in _TLS_OPTIONS}

    @property
    def place(self) -> str:
        """For messages: never a secret."""
        return f"{self.username}@{self.host}:{self.port}/{self.database}"


class Session:
    """One connection and what is known about it: its staging tables. Used by one task at a time."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", limits: Limits) -> None:
        self.connection = connection
        self.limits = limits
        self.staging: dict[str, dict[str, int]] = {}
        self.idle_since = time.monotonic()

    async def step(self, step: Awaitable[_Answer], seconds: float | None = None) -> _Answer:
        """Wait for one exchange with the server, no longer than the stall limit; then TimeoutError."""
        async with asyncio.timeout(seconds or self.limits.stall_timeout_s):
            return await step

    async def execute(self, sql: str, seconds: float | None = None) -> str:
        """Run statements without parameters in one round trip."""
        return str(await self.step(self.connection.execute(sql), seconds))

    async def usable(self) -> bool:
        """Whether it can be taken from the shelf; one that lay there for long is asked."""
        if self.connection.is_closed():
            return False
        if time.monotonic() - self.idle_since < self.limits.connection_idle_s:
            return True
        try:
            await self.execute("SELECT 1", self.limits.connect_timeout_s)
        except TRANSLATED:
            return False
        return True

    async def clear(self) -> bool:
        """End a transaction that was left open. False if the connection is no longer worth anything.

        Staged rows of a rolled back flush are dead but stay on disk; tried again for days they would fill it.
        """
        try:
            if not self.connection.is_closed() and self.connection.is_in_transaction():
                staged = "".join(f"; TRUNCATE pg_temp.{table}" for table in self.staging)
                await self.execute(f"ROLLBACK{staged}", self.limits.connect_timeout_s)
        except TRANSLATED:
            return False
        return not self.connection.is_closed()


class Connections:
    """At most `connections_max` sessions in turn. `open` is lazy; after `close` a turn raises Unavailable."""

    def __init__(self, config: PostgresConfig, connections_max: int, limits: Limits) -> None:
        self._config = config
        self._limits = limits
        self._turns = asyncio.Semaphore(connections_max)
        self._idle: list[Session] = []
        self._busy: set[Session] = set()
        self._closed = False

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Session]:
        """A session of one's own. asyncpg's errors pass through untranslated, for the caller knows what
        they mean.
        """
        async with self._turns:
            session = await self._take()
            self._busy.add(session)
            keep = False
            try:
                yield session
                keep = True
            except (asyncpg.PostgresError, WarehouseError) as error:
                # A stale schema may be a staging table that somebody dropped: begin with a fresh session.
                keep = not (is_stale(error) or (isinstance(error, Unavailable) and error.in_doubt))
                raise
            finally:
                self._busy.discard(session)
                await self._put_back(session, keep)

    @contextlib.asynccontextmanager
    async def aside(self) -> AsyncIterator[Session]:
        """A session beside those that take turns, for what takes long. It ends with its connection, and so do
        its settings and locks. Errors as of `turn`.
        """
        if self._closed:
            raise Unavailable("the destination is closed")
        session = await self._connect()
        self._busy.add(session)
        try:
            yield session
        finally:
            self._busy.discard(session)
            session.connection.terminate()

    async def close(self) -> None:
        """Idle connections say goodbye; busy ones are cut (their flush ends in Unavailable, its batch is in
        doubt).
        """
        self._closed = True
        for session in self._busy:
            session.connection.terminate()
        for session in self._idle:
            try:
                await session.connection.close(timeout=2.0)
            except TRANSLATED:
                session.connection.terminate()
        self._idle.clear()

    async def _take(self) -> Session:
        while self._idle and not self._closed:
            session = self._idle.pop()
            usable = False
            try:
                usable = await session.usable()
            finally:  # whoever asked may have been cancelled
                if not usable:
                    session.connection.terminate()
            if usable:
                return session
        if self._closed:
            raise Unavailable("the destination is closed")
        return await self._connect()

    async def _put_back(self, session: Session, keep: bool) -> None:
        clear = False
        try:
            clear = keep and not self._closed and await session.clear()
        finally:
            if not clear:
                session.connection.terminate()
        if clear:
            session.idle_since = time.monotonic()
            self._idle.append(session)

    async def _connect(self) -> Session:
        doing = f"connect to {self._config.place}"
        try:
            async with asyncio.timeout(self._limits.connect_timeout_s):
                connection = await self._enter(ways_in(self._config.tls))
        except Unavailable as error:
            raise Unavailable(f"{doing}: {error.reason}", error.hint) from error
        except asyncpg.ConnectionDoesNotExistError as error:
            # Since TLS 1.3 a server that does not trust our certificate just hangs up.
            hint = "does the server's ssl_ca_file trust the authority of sslcert? Its log knows more"
            raise Unavailable(f"{doing}: the server hung up at login", hint) from error
        except TRANSLATED as error:
            raise unavailable(doing, error) from error
        encoding = connection.get_settings().server_encoding
        if encoding not in _ENCODINGS:
            connection.terminate()
            raise Unavailable(f"{doing}: the encoding of the database is {encoding}", _ENCODING_HINT)
        session = Session(connection, self._limits)
        try:
            _keep_alive(connection, self._limits)
            await session.step(connection.execute(_session_sql(self._config, self._limits)))
        except TRANSLATED as error:
            connection.terminate()
            raise _misset(unavailable(f"{doing}: set up the session", error)) from error
        except BaseException:
            connection.terminate()
            raise
        return session

    async def _enter(self, ways: tuple[Way, ...]) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect by the first way that the server lets us in by; else the error of the last one tried."""
        for way in ways[:-1]:
            try:
                return await self._log_in(way)
            except TRANSLATED as error:
                if not may_try_other_way(error):
                    raise
        return await self._log_in(ways[-1])

    async def _log_in(self, way: Way) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=self._config.host,
            port=self._config.port,
            user=self._config.username,
            password=self._config.password,
            database=self._config.database,
            ssl=way,
            timeout=self._limits.connect_timeout_s,
        )


def _misset(error: Unavailable) -> Unavailable:
    """With what to do about a parameter that the server does not know."""
    hint = (
        f"`parameters` takes {', '.join(sorted(_OURS))} and settings of the server, no other words of libpq"
    )
    return Unavailable(error.reason, hint, error.sqlstate) if error.sqlstate == "42704" else error


def _session_sql(config: PostgresConfig, limits: Limits) -> str:
    settings = {name: str(value) for name, value in config.parameters.items() if name not in _OURS}
    settings.setdefault("application_name", "penstock")
    settings |= {
        "standard_conforming_strings": "on",
        # What a flush reads under its locks must be what is there now; and links must not fail each other.
        "default_transaction_isolation": "read committed",
        "TimeZone": "UTC",  # a cast to a user's timestamp or date column must not shift what was sent
        "DateStyle": "ISO, YMD",
        "client_min_messages": "warning",
        "statement_timeout": _milliseconds(limits.statement_timeout_s),
        # Before the statement's own limit, which would not say that it was a lock.
        "lock_timeout": _milliseconds(min(limits.lock_timeout_s, limits.statement_timeout_s / 2)),
        "idle_in_transaction_session_timeout": _milliseconds(limits.idle_in_transaction_s),
        # The server's side of the wire: a client that vanished must not hold the row lock for hours.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
    calls = (f"set_config({_literal(name)}, {_literal(value)}, false)" for name, value in settings.items())
    return f"SELECT {', '.join(calls)}"


def _literal(text: str) -> str:
    # Escape syntax is right whatever standard_conforming_strings is before this very statement sets it.
    return "E'" + text.replace("\0", "").replace("\\", "\\\\").replace("'", "''") + "'"


def _milliseconds(seconds: float) -> str:
    return str(max(1, int(seconds * 1000)))


def _keep_alive(connection: "asyncpg.Connection[asyncpg.Record]", limits: Limits) -> None:
    # asyncpg has no public way to its socket.
    wire = connection._transport.get_extra_info("socket")
    if wire is None or wire.family not in (socket.AF_INET, socket.AF_INET6):
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", int(limits.stall_timeout_s * 1000)),
    ):
        if hasattr(socket, option):
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
