"""Fixtures shared by every test: a real Postgres, and a fresh database in it.

The server is `PENSTOCK_TEST_DATABASE_URL` (a URL of a role that may create databases), else the embedded
Postgres in a temporary directory, started once for the session and stopped at its end.
"""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import settings

CONNECT_TIMEOUT_S = 15

# No deadline: Hypothesis's is 200 ms, and a busy box stops for as long once in a while. The examples are the
# same in each run, for `make test` must not depend on luck; `make test-long` looks at new ones.
settings.register_profile("fixed", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("fixed")


def pytest_configure() -> None:
    """A shell that runs the tests in the background ignores SIGINT for them, and for all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Postgres 14 or newer in which the role may create databases."""
    configured = os.environ.get("PENSTOCK_TEST_DATABASE_URL")
    if configured:
        yield configured
        return
    yield from _embedded(tmp_path_factory.mktemp("embedded"))


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """URL of a fresh, empty database; dropped afterwards even if a connection was left open."""
    with fresh_database(postgres_url) as url:
        yield url


@contextlib.contextmanager
def fresh_database(postgres_url: str) -> Iterator[str]:
    """The same for fixtures of a wider scope."""
    name = f"penstock_test_{os.getpid()}_{secrets.token_hex(6)}"
    _execute(postgres_url, f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    yield urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    # Not WITH (FORCE): an ordinary role may not end an autovacuum worker; a plain DROP ends it and waits.
    ours = "FROM pg_stat_activity WHERE usename = current_user AND datname"
    _execute(postgres_url, f"SELECT pg_terminate_backend(pid) {ours} = '{name}'")
    _execute(postgres_url, f"DROP DATABASE IF EXISTS {name}")


def _embedded(directory: Path) -> Iterator[str]:
    from server.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(directory / "data")
    address = server.start()
    try:
        yield (
            f"postgresql://{quote(address.username)}:{quote(address.password)}"
            f"@{address.host}:{address.port}/{quote(address.database)}"
        )
    finally:
        server.stop(30)


def _execute(url: str, statement: str) -> None:
    """Run one statement outside a transaction, on a loop of its own (the test's loop is not running yet)."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
