"""What can go wrong at a destination, and the only place that knows asyncpg's errors.

WarehouseError
├── RowsRefused     rows the destination will never take: dead-letter them, flush again without
├── Foreign         another process took this link over: stop
└── Unavailable     everything else: back off and try the same batch again, for ever
    └── OutOfStep   the progress row is not where the batch begins: take over again and go on from there

Only data-shaped errors refuse a row: SQLSTATE class 22 and 23 on the target table, and a single row that
does not fit (54000), raised while rows were being loaded, seen with a freshly read schema. A wrong guess
the other way (waiting for a row that never goes in) is visible and harmless; this way it would be a lost
event.
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

# Everything a connection can raise. CancelledError is not among them: it is somebody's wish, not a fault.
TRANSLATED = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
    TimeoutError,
    UnicodeError,
)

_STALE = frozenset(
    {
        "0A000",  # cached plan must not change result type
        "3F000",  # schema gone
        "42701",  # column exists already
        "42703",  # column gone
        "42704",  # type gone
        "42804",  # column has another type
        "42846",  # … that cannot be cast to
        "42P01",  # table gone
        "42P07",  # table exists already
        "42P10",  # no unique index for ON CONFLICT
        "428C9",  # column became generated
    }
)

_HINTS = {
    "28": "check the user name, the password and pg_hba.conf",
    "28P01": "check the user name and the password",
    "3D": "the database does not exist: create it, or correct `db`",
    "25": "the server is read-only (a standby?): point the destination at the primary",
    "42501": "grant the missing right to the user of this destination",
    "53100": "the disk of the database server is full",
    "53200": "the database server is out of memory, or max_locks_per_transaction is too small for a batch of "
    "that many tables and partitions",
    "53300": "the server has no free connection: raise max_connections or free some",
    "54011": "a primaryKey has 32 columns at most, a table 1,600 with those that were dropped: rename the "
    "table, and Penstock makes a new one",
    "55P03": "another session holds a lock on the table",
    "57014": "the statement took longer than statement_timeout_s",
    "57P": "the server is starting or stopping",
    "40": "a concurrent transaction got in the way; the next try should pass",
    "23505": "remove the rows that are equal in the key, choose another primaryKey, or turn deduplicate off",
}

# By what OpenSSL, asyncpg or the server say: there is no code for these. The first that is found counts.
_TLS_HINTS = {
    "rejected SSL upgrade": "the server speaks no TLS: turn `ssl` on there, or set sslmode to disable",
    "no encryption": "the server lets this user in with TLS only: set sslmode to require or more",
    "SSL encryption": "the server lets this user in without TLS only: set sslmode to disable",
    "valid client certificate": "the server asks for a client certificate: set sslcert and sslkey",
    "certificate authentication failed": "the client certificate must name the user in its common name (CN)",
    "Hostname mismatch": "with verify-full `host` must be a name in the server's certificate; "
    "verify-ca does not compare them",
    "IP address mismatch": "with verify-full `host` must be an address or name in the server's certificate; "
    "verify-ca does not compare them",
    "certificate has expired": "the server's certificate has expired: renew it there",
    "not yet valid": "the server's certificate is not valid yet: compare the clocks",
    "certificate verify failed": "sslrootcert must hold the authority that signed the server's certificate",
    "unknown ca": "the server does not trust the authority of sslcert (its ssl_ca_file)",
    "alert": "the server refused the client certificate: check sslcert and the server's ssl_ca_file",
}


_SAID_MAX = 400
"""Characters of what somebody else says: Postgres quotes whole values, and each refused row keeps its reason
in the catalog and in the outcome of its batch.
"""


class WarehouseError(Exception):
    """The root. `reason` says what was attempted and what happened; `hint` what to do about it."""

    def __init__(self, reason: str, hint: str = "", sqlstate: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.sqlstate = sqlstate


class Unavailable(WarehouseError):  # noqa: N818 - a state, and the word of the seam
    """Nothing of the batch landed, or nobody knows (then `in_doubt`): try the same batch again."""

    def __init__(self, reason: str, hint: str = "", sqlstate: str = "", in_doubt: bool = False) -> None:
        super().__init__(reason, hint, sqlstate)
        self.in_doubt = in_doubt

    @property
    def too_slow(self) -> bool:
        """Whether the server ended a statement for the time it took: a smaller batch may pass."""
        return self.sqlstate == "57014"


class OutOfStep(Unavailable):
    """The progress row is gone or elsewhere (a restored database, a lagging replica promoted): take over
    again.
    """


class Foreign(WarehouseError):  # noqa: N818 - the word of the seam
    """The progress row carries a larger epoch: another process owns this link now. Retrying is wrong."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One event that the destination will not take."""

    offset: int
    reason: str
    sqlstate: str


class RowsRefused(WarehouseError):  # noqa: N818 - the word of the seam
    """Data-shaped refusals, at least one; the transaction was rolled back. More may follow next time."""

    def __init__(self, refusals: Sequence[Refused]) -> None:
        super().__init__(
            f"{len(refusals)} events refused; the first at offset {refusals[0].offset}: {refusals[0].reason}"
        )
        self.refusals = sorted(refusals, key=lambda refused: refused.offset)


def sqlstate(error: BaseException) -> str:
    """The five characters, or "" for anything that is not a server error."""
    return str(error.sqlstate or "") if isinstance(error, asyncpg.PostgresError) else ""


def is_stale(error: BaseException) -> bool:
    """The table is not as the cached schema says."""
    return sqlstate(error) in _STALE


def is_missing(error: BaseException) -> bool:
    """There is no such table or schema."""
    return sqlstate(error) in ("42P01", "3F000")


def is_repeat(error: BaseException) -> bool:
    """Two rows of one INSERT … ON CONFLICT are equal to Postgres, not to us (citext, numeric)."""
    return sqlstate(error) == "21000"


def is_row_fault(error: BaseException) -> bool:
    """Whether the SQLSTATE could be the fault of a row; `is_data_shaped` looks closer."""
    return sqlstate(error)[:2] in ("22", "23") or sqlstate(error) == "54000"


def is_data_shaped(error: BaseException, schema: str, table: str, *, partitioned: bool) -> bool:
    """Whether `error`, raised while loading rows for `table`, is the fault of a row."""
    if sqlstate(error)[:2] == "23":
        # Constraint errors name their table; another one is a trigger's or a rule's business, not this row's.
        named = getattr(error, "table_name", None)
        return (
            partitioned or not named or (named == table and getattr(error, "schema_name", schema) == schema)
        )
    return is_row_fault(error)


def may_try_other_way(error: BaseException) -> bool:
    """Whether a login that failed with TLS may pass without it, or the other way round."""
    refused = isinstance(error, ConnectionRefusedError | TimeoutError)
    return sqlstate(error) == "28000" or (isinstance(error, OSError) and not refused)


def context(error: BaseException) -> str:
    """Where the server was when it failed; for COPY this holds the line."""
    return str(getattr(error, "context", "") or "")


def describe(error: BaseException) -> str:
    """A few hundred characters, without row contents beyond what the server's own message says."""
    if isinstance(error, asyncpg.PostgresError):
        return f"{shortened(str(error.message or error))} ({sqlstate(error)})"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "timed out"
    return f"{type(error).__name__}: {shortened(str(error))}" if str(error) else type(error).__name__


def shortened(words: str) -> str:
    """What is longer than a reason may be ends in an ellipsis."""
    return words if len(words) <= _SAID_MAX else f"{words[: _SAID_MAX - 1]}…"


def unavailable(doing: str, error: BaseException, in_doubt: bool = False) -> Unavailable:
    """Translate anything that is not the fault of a row. The caller raises it `from error`."""
    state = sqlstate(error)
    return Unavailable(f"{doing}: {describe(error)}", _hint(error, state), state, in_doubt)


def _hint(error: BaseException, state: str) -> str:
    if state[:2] == "28" or isinstance(error, OSError):
        for words, hint in _TLS_HINTS.items():
            if words in str(error):
                return hint
    for length in (5, 3, 2):
        if state and state[:length] in _HINTS:
            return _HINTS[state[:length]]
    if isinstance(error, ssl.SSLError):
        return "check sslmode and the certificates"
    if isinstance(error, TimeoutError):
        return "the server does not answer: check the network and the load of the server"
    if isinstance(error, OSError):
        return "check host and port, and that the server runs"
    return ""
