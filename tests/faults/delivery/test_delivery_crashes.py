"""kill -9 at each step of a flush: whatever was done by then, after the restart every event is there once.

The link has no merge key, so nothing would hide a row that was loaded twice. The child is held at the step by
stalling the wire where that step's bytes would pass.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.clock import SystemClock
from server.delivery.ledger import Ledger
from server.delivery.outcome import Outcome, Refused
from server.delivery.stamps import LayoutName
from storage import Store
from tests.faults.delivery.box import (
    BATCHED,
    STREAM,
    append,
    bodies,
    by_layout,
    config_of,
    crashing,
    fetch,
    fill,
    landed,
    message_ids,
    opened,
    running,
    until,
    without_key,
)
from tests.faults.proxy import Direction, FaultProxy

IDS = [f"m{n:05}" for n in range(1_000)]
UP, DOWN = Direction.TO_SERVER, Direction.TO_CLIENT
FLUSH = b"SET CONSTRAINTS"
ADVANCE = b"SET batch_id"

STEPS = {
    "before the take-over": (b"INSERT INTO penstock.progress", UP, b""),
    "take-over done, before its answer": (b"COMMIT\0", DOWN, b"INSERT INTO penstock.progress"),
    "intent durable, nothing sent": (FLUSH, UP, b""),
    "before COPY": (b"PGCOPY", UP, FLUSH),
    "in the middle of COPY": (b"m00300", UP, b"PGCOPY"),
    "before COMMIT": (b"COMMIT\0", UP, ADVANCE),
    "committed, before its answer": (b"COMMIT\0", DOWN, ADVANCE),
    "checkpoint moved, next batch begun": (FLUSH, UP, ADVANCE),
}


@pytest.mark.parametrize(
    ("layout", "step"), by_layout(STEPS, ["in the middle of COPY", "committed, before its answer"])
)
async def test_every_event_once(layout: LayoutName, step: str, tmp_path: Path, database: str) -> None:
    await fill(tmp_path, bodies(IDS))
    await crash_at(step, tmp_path, database, layout)
    link = replace(BATCHED, layout=layout)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await append(box.store, bodies(["after"]))
        await box.drained()
        assert box.status().delivered == len(IDS) + 1
        assert box.status().alarm is None
    assert await landed(database, layout) == ["after", *IDS]


async def test_a_dead_letter_of_a_batch_that_landed_unheard(tmp_path: Path, database: str) -> None:
    await fetch(database, "CREATE TABLE events (message_id text, n bigint CHECK (n <> 13))")
    await fill(tmp_path, [body for n in range(20) for body in bodies([f"m{n:02}"], n=n)])
    await crash_at("committed, before its answer", tmp_path, database)
    async with running(tmp_path, {"pg": config_of(database)}, [BATCHED]) as box:
        await box.drained()
        (letter,) = box.delivery.dead_letters.page(BATCHED.id)
        payload = box.delivery.dead_letters.payload(BATCHED.id, letter.offset)
        assert letter.sqlstate == "23514"
        assert payload is not None
        assert b'"m13"' in payload.item
        assert (box.status().delivered, box.status().dead_letters) == (19, 1)
    assert await message_ids(database) == [f"m{n:02}" for n in range(20) if n != 13]


async def test_a_crash_between_the_payload_and_the_index_of_a_dead_letter(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await append(store, bodies(["m1"]))
        offset = store.wal.head(STREAM)
        outcome = Outcome(0, (Refused(offset, "why"),))
        await ledger_of(store)._copy_payloads(outcome)
    for _ in range(2):
        async with opened(tmp_path) as store:
            ledger = ledger_of(store)
            if ledger.checkpoint.last < offset:
                await ledger.settle(offset, outcome, None)
            assert (ledger.checkpoint.dead_letters, ledger.checkpoint.last) == (1, offset)


async def test_again_and_again(tmp_path: Path, database: str) -> None:
    """Every step in turn on one store, with new events in between."""
    expected: list[str] = []
    for turn, step in enumerate(STEPS):
        ids = [f"{turn}{id_}" for id_ in IDS]
        expected += ids
        await fill(tmp_path, bodies(ids))
        if turn and "take-over" in step:
            continue
        await crash_at(step, tmp_path, database)
    async with running(tmp_path, {"pg": config_of(database)}, [BATCHED]) as box:
        await box.drained()
    assert await message_ids(database) == expected


def ledger_of(store: Store) -> Ledger:
    return Ledger(store, without_key(), SystemClock(), ThreadPoolExecutor(1))


async def crash_at(step: str, path: Path, database: str, layout: LayoutName = BATCHED.layout) -> None:
    """Delivers in a child process up to that step, and kills it there."""
    parts = urlsplit(database)
    pattern, direction, after = STEPS[step]
    async with FaultProxy(parts.hostname or "", parts.port or 5432) as proxy:
        proxy.stall_at(pattern, direction, after)
        async with crashing(path, database, proxy.port, layout):
            await until(proxy.fired.is_set)
