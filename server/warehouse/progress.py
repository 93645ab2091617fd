"""How far each link got, kept where the rows are: table `penstock.progress`, written by the same
transaction as the rows.

A row belongs to (store, link, generation). Its epoch names the process that owns the link: taking over
raises it, and a flush under another epoch stops. `decide` is the table row → action of ARCHITECTURE.md
(Progress) and touches nothing. Functions that take a session raise asyncpg's errors untranslated, or
OutOfStep, Foreign, and Unavailable for a row that is locked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from server.warehouse.batch import Batch, Inherited, LinkKey, LocalProgress, Takeover, TakeoverCase
from server.warehouse.connection import Session
from server.warehouse.errors import TRANSLATED, Foreign, OutOfStep, Unavailable, is_missing, sqlstate

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS penstock.progress (
    store_id text NOT NULL, link_id text NOT NULL, generation bigint NOT NULL,
    epoch bigint NOT NULL, batch_id text NOT NULL DEFAULT '', last_offset bigint NOT NULL,
    outcome bytea NOT NULL DEFAULT '', fingerprint text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (store_id, link_id, generation));
COMMENT ON TABLE penstock.progress IS 'penstock: how far each link got; without its row a link starts over'
"""
_WHERE: Final = "WHERE store_id = $1 AND link_id = $2 AND generation = $3"
_LOCK: Final = (
    f"SELECT epoch, batch_id, last_offset, outcome, fingerprint FROM penstock.progress {_WHERE} FOR UPDATE"
)
_INSERT: Final = """
INSERT INTO penstock.progress (store_id, link_id, generation, epoch, last_offset, fingerprint)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true
"""
_OWN: Final = f"UPDATE penstock.progress SET epoch = $4, fingerprint = $5, updated_at = now() {_WHERE}"
_FENCE: Final = f"UPDATE penstock.progress SET epoch = epoch + 1, updated_at = now() {_WHERE}"
_ADVANCE: Final = (
    "UPDATE penstock.progress SET batch_id = $4, last_offset = $5, outcome = $6, "
    f"updated_at = clock_timestamp() {_WHERE}"
)
_LAST_GENERATION: Final = "SELECT max(generation) FROM penstock.progress WHERE store_id = $1 AND link_id = $2"


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """A row of penstock.progress."""

    epoch: int
    batch_id: str
    last_offset: int
    outcome: bytes
    fingerprint: str

    @property
    def place(self) -> str:
        """The database in which it was written, whatever the schema of its tables."""
        return place_of(self.fingerprint)


def place_of(fingerprint: str) -> str:
    """The database of a fingerprint: there is one progress row for all schemas in it."""
    return fingerprint.rpartition("/")[0]


def decide(row: ProgressRow | None, local: LocalProgress, here: str) -> tuple[TakeoverCase, int]:
    """What the row means in the database `here`, and the offset after which to go on."""
    if row is None:
        return (TakeoverCase.ABSENT if local.last_offset else TakeoverCase.FIRST), local.last_offset
    doubt = local.in_doubt
    # Asked first: a batch of parked events leaves the offset where it is.
    if doubt is not None and (row.batch_id, row.last_offset) == (doubt.batch_id, doubt.last_offset):
        return TakeoverCase.LANDED, row.last_offset
    if local.place not in ("", row.place):
        return _decide_elsewhere(row, local, here)
    if row.last_offset == local.last_offset:
        return TakeoverCase.EQUAL, local.last_offset
    if row.last_offset < local.last_offset:
        return TakeoverCase.BEHIND, row.last_offset
    return TakeoverCase.AHEAD, local.last_offset


def _decide_elsewhere(row: ProgressRow, local: LocalProgress, here: str) -> tuple[TakeoverCase, int]:
    """The row is of another database than the checkpoint: of one that the link had left, or of a copy of one
    that is not remembered.
    """
    passed = max(local.last_offset, local.frontier)
    if row.last_offset > passed:
        return TakeoverCase.AHEAD, local.last_offset
    # Made here by a take-over that nobody remembers, for its answer was lost; nothing landed since.
    unused = not row.batch_id and row.place == here
    if row.place in local.places or unused or row.last_offset == passed:
        return TakeoverCase.MOVED, row.last_offset
    return TakeoverCase.BEHIND, row.last_offset


async def create(session: Session) -> None:
    """Our schema and table, if they are not there. Safe against another process doing the same."""
    connection = session.connection
    if await session.step(connection.fetchval("SELECT to_regclass('penstock.progress') IS NOT NULL")):
        return
    # CREATE SCHEMA IF NOT EXISTS asks for the right to create even if there is nothing to do.
    present = await session.step(connection.fetchval("SELECT to_regnamespace('penstock') IS NOT NULL"))
    schema = "" if present else "CREATE SCHEMA IF NOT EXISTS penstock;"
    lock = "SELECT pg_advisory_xact_lock(hashtextextended('penstock schema', 0))"
    await session.execute(f"BEGIN; {lock}; {schema} {_CREATE}; COMMIT")


async def fingerprint(session: Session, schema: str) -> str:
    """Which database and schema this is; follows a physical copy of the server, not a dump."""
    name = await session.step(session.connection.fetchval("SELECT current_database()"))
    try:
        sql = "SELECT system_identifier FROM pg_control_system()"
        server = await session.step(session.connection.fetchval(sql))
    except asyncpg.PostgresError:  # some hosted servers keep it to themselves
        server = "?"
    return f"{server}/{name}/{schema}"


async def take_over(session: Session, key: LinkKey, local: LocalProgress, here: str) -> Takeover:
    """Make this process the owner of the link, in one transaction."""
    connection = session.connection
    place = (key.store_id, key.link_id, key.generation)
    await session.execute("BEGIN; SET LOCAL synchronous_commit = on")
    first_epoch = local.epoch + 1
    made = await session.step(connection.fetchval(_INSERT, *place, first_epoch, local.last_offset, here))
    row = None if made else await _locked(session, key)
    case, resume_after = decide(row, local, place_of(here))
    epoch = max(first_epoch, row.epoch + 1 if row else 0)
    if row is not None:
        # Raised even when we move to a new generation: whoever flushes under the old one must stop.
        await session.step(connection.execute(_OWN, *place, epoch, here))
    if case is TakeoverCase.AHEAD:
        last = await session.step(connection.fetchval(_LAST_GENERATION, key.store_id, key.link_id))
        key = replace(key, generation=last + 1)
        made = await session.step(
            connection.fetchval(_INSERT, key.store_id, key.link_id, last + 1, epoch, resume_after, here)
        )
        if not made:
            raise OutOfStep(f"another process takes over link {key.link_id} at this moment")
    await session.execute("COMMIT")
    changed = row is not None and row.fingerprint != here
    foreign = row is not None and row.epoch != local.epoch
    return Takeover(
        case,
        key,
        epoch,
        resume_after,
        row.last_offset if row else None,
        row.outcome if row else b"",
        changed,
        foreign,
        _warning(case, row, local, here),
        place_of(here),
        row.place if row else None,
    )


async def inherit(session: Session, key: LinkKey, former_ids: Sequence[str], here: str) -> Inherited | None:
    """The row of the first of these stores that has one, its epoch raised: whoever flushes under it stops.

    Nothing is looked for once the link has a row of its own.
    """
    await session.execute("BEGIN; SET LOCAL synchronous_commit = on")
    found = None
    if await _locked(session, key) is None:
        for store_id in former_ids:
            place = (store_id, key.link_id, key.generation)
            row = await _locked(session, replace(key, store_id=store_id))
            if row is not None:
                await session.step(session.connection.execute(_FENCE, *place))
                found = Inherited(
                    store_id, row.last_offset, row.batch_id, row.outcome, place_of(here), row.place
                )
                break
    await session.execute("COMMIT")
    return found


async def begin(session: Session, key: LinkKey, batch: Batch) -> bool:
    """Open the flush's transaction and lock the row. False: this very batch has landed before."""
    # A deferred constraint fails at the load then, not at COMMIT, where nobody could tell the row.
    await session.execute("BEGIN; SET LOCAL synchronous_commit = on; SET CONSTRAINTS ALL IMMEDIATE")
    if batch.lock_timeout_s is not None:
        await session.execute(f"SET LOCAL lock_timeout = {max(1, int(batch.lock_timeout_s * 1000))}")
    try:
        row = await _locked(session, key)
    except TRANSLATED as error:
        if not is_missing(error):
            raise
        raise OutOfStep("table penstock.progress is gone", "take over again") from error
    if row is None:
        raise OutOfStep(f"the progress row of link {key.link_id} is gone", "take over again")
    if row.epoch > batch.epoch:
        raise Foreign(
            f"link {key.link_id} was taken over by another process (epoch {row.epoch}, ours {batch.epoch})",
            "two processes run on copies of one data directory: stop one of them",
        )
    if (row.epoch, row.batch_id, row.last_offset) == (batch.epoch, batch.batch_id, batch.last_offset):
        return False
    if row.epoch < batch.epoch or row.last_offset != batch.after_offset:
        raise OutOfStep(
            f"link {key.link_id} stands at offset {row.last_offset} (epoch {row.epoch}) in the destination, "
            f"the batch begins after {batch.after_offset} (epoch {batch.epoch})",
            "the database was restored or a replica promoted: take over again",
        )
    return True


async def advance(session: Session, key: LinkKey, batch: Batch) -> None:
    """Write where the batch ends and its outcome; the caller commits."""
    place = (key.store_id, key.link_id, key.generation)
    moved = await session.step(
        session.connection.execute(_ADVANCE, *place, batch.batch_id, batch.last_offset, batch.outcome)
    )
    if moved != "UPDATE 1":
        raise OutOfStep(f"the progress row of link {key.link_id} vanished under its lock ({moved})")


async def _locked(session: Session, key: LinkKey) -> ProgressRow | None:
    try:
        place = (key.store_id, key.link_id, key.generation)
        record = await session.step(session.connection.fetchrow(_LOCK, *place))
    except asyncpg.LockNotAvailableError as error:
        # No TableLocked: every event of the link waits for this one.
        where = f"the row of link {key.link_id} in penstock.progress"
        raise Unavailable(f"another session holds {where}", "pg_locks says which", sqlstate(error)) from error
    return None if record is None else ProgressRow(**dict(record))


def _warning(case: TakeoverCase, row: ProgressRow | None, local: LocalProgress, here: str) -> str:
    there = f"offset {row.last_offset if row else 0}, here {local.last_offset}"
    words = {
        TakeoverCase.ABSENT: "the destination has no progress of this link; going on from the local "
        f"offset {local.last_offset}",
        TakeoverCase.BEHIND: f"the destination is behind ({there}): it was restored from an older copy; "
        "what is missing there is delivered again",
        TakeoverCase.AHEAD: f"the destination is ahead ({there}): the local store is older than the "
        "destination; nothing is taken for delivered, a new generation begins at the local offset",
    }.get(case, "")
    if row is None or row.fingerprint == here:
        return words
    moved = f"the progress row was written to {row.fingerprint}, this is {here}"
    return f"{words}; {moved}" if words else moved
