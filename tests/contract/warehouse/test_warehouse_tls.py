"""Every sslmode against a real Postgres with TLS: what gets in, and what is said when nothing does."""

from collections.abc import Iterator

import pytest

from server.warehouse import Destination, PostgresConfig, Unavailable
from tests.contract.warehouse.tls_server import TlsServer, tls_server

# TLS takes its time to close: one loop for all, and last those that get in.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    with tls_server() as running:
        yield running


def reached(server: TlsServer, user: str, host: str = "127.0.0.1", **options: str) -> PostgresConfig:
    """Options that begin with @ are files of the server's folder, with = their text."""
    read = {"@": server.path, "=": server.text}
    parameters = {
        name: read.get(value[:1], str)(value[1:] if value[:1] in read else value)
        for name, value in options.items()
    }
    return PostgresConfig(host=host, port=server.port, username=user, parameters=parameters)


async def speaks_tls(config: PostgresConfig) -> bool:
    destination = Destination(config, 1)
    try:
        async with destination._connections.turn() as session:
            return await session.connection.fetchval(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            )
    finally:
        await destination.close()


REQUIRE = {"sslmode": "require"}
VERIFY = {"sslmode": "verify-ca"}
FULL = {"sslmode": "verify-full"}
CERT = {"sslmode": "require", "sslcert": "@client.crt"}


@pytest.mark.parametrize(
    ("user", "options", "says", "hint"),
    [
        ("tls_only", {"sslmode": "disable"}, "no encryption", "set sslmode to require"),
        ("plain_only", {"sslmode": "require"}, "SSL encryption", "set sslmode to disable"),
        ("nobody_known", {"sslmode": "prefer"}, "pg_hba.conf", "TLS"),
        (
            "tls_only",
            {**VERIFY, "sslrootcert": "@other-ca.crt"},
            "verify failed",
            "sslrootcert",
        ),
        (
            "tls_only",
            {**REQUIRE, "sslrootcert": "@other-ca.crt"},
            "verify failed",
            "sslrootcert",
        ),
        ("tls_only", VERIFY, "verify failed", "sslrootcert"),
        (
            "tls_only",
            {**FULL, "sslrootcert": "@ca.crt"},
            "mismatch",
            "`host`",
        ),
        (
            "tls_only",
            {**VERIFY, "sslrootcert": "@nowhere.crt"},
            "nowhere.crt: ",
            "PEM file",
        ),
        (
            "tls_only",
            {**VERIFY, "sslrootcert": "-----BEGIN X"},
            "the PEM text",
            "PEM file",
        ),
        ("by_cert", {"sslmode": "require"}, "client certificate", "set sslcert and sslkey"),
        ("by_cert", {**CERT, "sslkey": "@server.key"}, "sslcert, sslkey", "belong to the certificate"),
        ("by_cert", {**CERT, "sslkey": "@locked.key"}, "sslcert, sslkey", "sslpassword"),
        (
            "by_cert",
            {**REQUIRE, "sslkey": "@client.key"},
            "sslcert is not",
            "belongs",
        ),
        (
            "by_cert",
            {**CERT, "sslcert": "@stranger.crt", "sslkey": "@stranger.key"},
            "hung up",
            "ssl_ca_file",
        ),
        (
            "by_cert",
            {**CERT, "sslcert": "@someone.crt", "sslkey": "@someone.key"},
            "authentication failed",
            "common name",
        ),
    ],
)
async def test_no_way_in_says_what_to_fix(server, user, options, says, hint):
    destination = Destination(reached(server, user, **options), 1)
    with pytest.raises(Unavailable, match=f"(?s)connect to .*{says}") as raised:
        await destination.probe()
    assert hint in raised.value.hint
    assert "BEGIN" not in str(raised.value)
    await destination.close()


@pytest.mark.parametrize(
    ("user", "options", "tls"),
    [
        ("plain_only", {"sslmode": "disable"}, False),
        ("postgres", {"sslmode": "allow"}, False),
        ("tls_only", {"sslmode": "allow"}, True),
        ("postgres", {"sslmode": "prefer"}, True),
        ("postgres", {}, True),
        ("plain_only", {"sslmode": "prefer"}, False),
        ("by_cert", {"sslmode": "prefer", "sslcert": "@client.crt", "sslkey": "@client.key"}, True),
        ("tls_only", {"sslmode": "require"}, True),
        ("tls_only", {"sslmode": "require", "sslrootcert": "@ca.crt"}, True),
        ("tls_only", {"sslmode": "verify-ca", "sslrootcert": "@ca.crt"}, True),
        ("tls_only", {"sslmode": "verify-ca", "sslrootcert": "=ca.crt"}, True),
        ("tls_only", {"sslmode": "verify-full", "sslrootcert": "@ca.crt", "host": "localhost"}, True),
        ("by_cert", {"sslmode": "require", "sslcert": "=client.crt", "sslkey": "=client.key"}, True),
        (
            "by_cert",
            {
                "sslmode": "require",
                "sslcert": "@client.crt",
                "sslkey": "@locked.key",
                "sslpassword": "sesame",
            },
            True,
        ),
    ],
)
async def test_a_way_in(server, user, options, tls):
    assert await speaks_tls(reached(server, user, **options)) is tls
