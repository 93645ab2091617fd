"""From the WAL into a real Postgres, without faults: what lands, in which order, what is said of it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from server.clock import SystemClock
from server.delivery import Fate, LinkConfig, LinkState
from server.delivery.ledger import Ledger
from tests.faults.delivery.box import (
    LINK,
    STREAM,
    Box,
    append,
    bodies,
    config_of,
    fetch,
    fill,
    message_ids,
    opened,
    running,
    until,
    without_key,
)


async def test_events_become_rows(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, bodies(["m1"], orderId=7, tags=["a", "b"]))
        await box.drained()
    (row,) = await fetch(database, "SELECT * FROM events")
    assert (row["message_id"], row["order_id"], row["tags"], row["type"]) == ("m1", 7, '["a","b"]', "track")


async def test_a_backlog_goes_in_batches_in_order(tmp_path: Path, database: str) -> None:
    ids = [f"m{n:05}" for n in range(5_000)]
    await fill(tmp_path, bodies(ids[:2_500]))
    await fill(tmp_path, bodies(ids[2_500:]))
    link = replace(without_key(), batch_events_max=700)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await box.drained()
        assert box.status().delivered == 5_000
    assert await message_ids(database) == ids
    rows = await fetch(database, "SELECT message_id FROM events ORDER BY ctid")
    assert [row[0] for row in rows] == ids


async def test_bytes_bound_a_batch(tmp_path: Path, database: str) -> None:
    await fill(tmp_path, bodies([f"m{n}" for n in range(100)], text="x" * 10_000))
    link = replace(LINK, batch_bytes_max=50_000)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await box.drained()
        assert box.delivery.counters()["pg"].flushes >= 100 * 10_000 // (50_000 + 10_300)


async def test_status_and_outcome_follow_an_event(tmp_path: Path, database: str) -> None:
    slow = replace(LINK, flush_interval_s=3_600)
    async with running(tmp_path, {"pg": config_of(database)}, [slow], stop_s=20) as box:
        await box.in_state(LinkState.WAITING)
        await append(box.store, bodies(["m1"]))
        offset = box.store.wal.head(STREAM)
        assert [o.fate for o in box.delivery.link_outcome(STREAM, offset)] == [Fate.WAITING]
        status = box.status()
        assert (status.lag_events, status.delivered) == (1, 0)
        assert status.lag_bytes > 0
        await box.delivery.stop(20)  # flushes what waits
        assert [o.fate for o in box.delivery.link_outcome(STREAM, offset)] == [Fate.DELIVERED]
        assert (box.status().lag_events, box.status().lag_s, box.status().state) == (
            0,
            0.0,
            LinkState.STOPPED,
        )
        assert box.delivery.keep_after() == {STREAM: offset}
    assert await message_ids(database) == ["m1"]


async def test_a_full_batch_does_not_wait(tmp_path: Path, database: str) -> None:
    link = replace(LINK, flush_interval_s=3_600, batch_events_max=10)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await append(box.store, bodies([f"m{n}" for n in range(9)]))
        await append(box.store, bodies(["last"]))
        await box.drained()
    assert len(await message_ids(database)) == 10


async def test_two_links_share_a_stream(tmp_path: Path, database: str) -> None:
    await fill(tmp_path, bodies([f"m{n}" for n in range(50)]))
    other = replace(LINK, id="other", table_name="events_too")
    async with running(tmp_path, {"pg": config_of(database)}, [LINK, other]) as box:
        await box.drained()
        await box.drained("other")
    assert await message_ids(database) == await message_ids(database, "events_too")


async def test_a_named_table_of_a_server_key(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, [body | {"JITSU_TABLE_NAME": "Orders"} for body in bodies(["m1"])])
        await box.drained()
    assert await message_ids(database, "Orders") == ["m1"]


async def test_a_link_goes_on_where_it_was(tmp_path: Path, database: str) -> None:
    destinations = {"pg": config_of(database)}
    for turn in range(3):
        async with running(tmp_path, destinations, [without_key()]) as box:
            await append(box.store, bodies([f"m{turn}"]))
            await box.drained()
    assert await message_ids(database) == ["m0", "m1", "m2"]


async def test_a_link_made_again_begins_at_the_oldest_event(tmp_path: Path, database: str) -> None:
    destinations = {"pg": config_of(database)}
    await fill(tmp_path, bodies(["m1"]))
    for generation in (1, 2):
        link = replace(without_key(), generation=generation)
        async with running(tmp_path, destinations, [link]) as box:
            await box.drained()
            assert box.status().dropped == 0
    assert await message_ids(database) == ["m1", "m1"]


async def test_batch_mode_keeps_its_due_time_over_a_restart(tmp_path: Path, database: str) -> None:
    destinations = {"pg": config_of(database)}
    link = replace(LINK, mode="batch", frequency_minutes=60)
    async with running(tmp_path, destinations, [link]) as box:
        await append(box.store, bodies(["m1"]))
        await until(lambda: due_ms(box) is not None)
        due = due_ms(box)
    async with running(tmp_path, destinations, [link]) as box:
        await box.in_state(LinkState.WAITING)
        await append(box.store, bodies(["m2"]))
        assert due_ms(box) == due
    await make_due(tmp_path, link)
    async with running(tmp_path, destinations, [link]) as box:
        await box.drained()
        await until(lambda: due_ms(box) is None)
    assert await message_ids(database) == ["m1", "m2"]


async def test_batch_mode_does_not_wait_for_a_full_batch(tmp_path: Path, database: str) -> None:
    link = replace(LINK, mode="batch", frequency_minutes=60, batch_events_max=3)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await append(box.store, bodies(["m1", "m2", "m3"]))
        await box.drained()
    assert await message_ids(database) == ["m1", "m2", "m3"]


async def test_a_link_too_far_behind_closes_its_own_stream_only(tmp_path: Path, database: str) -> None:
    link = replace(LINK, flush_interval_s=3_600, backlog_bytes_max=100_000)
    free = replace(LINK, id="free", stream_id="other")
    async with running(tmp_path, {"pg": config_of(database)}, [link, free], stop_s=20) as box:
        assert not box.delivery.backlog_exceeded(STREAM)
        await append(box.store, bodies([f"m{n}" for n in range(20)], text="x" * 10_000))
        await until(lambda: box.delivery.backlog_exceeded(STREAM))
        assert not box.delivery.backlog_exceeded("other")


async def test_stop_is_bounded(tmp_path: Path) -> None:
    nowhere = replace(config_of("postgresql://postgres@127.0.0.1/none"), port=1)
    async with running(tmp_path, {"pg": nowhere}) as box:
        await append(box.store, bodies(["m1"]))
        await until(lambda: box.status().last_error is not None)
        async with asyncio.timeout(5):
            await box.delivery.stop(1)
        assert box.status().state is LinkState.STOPPED


def due_ms(box: Box) -> int | None:
    (flusher,) = box.delivery._flushers.values()
    return flusher.ledger.checkpoint.due_ms


async def make_due(path: Path, link: LinkConfig) -> None:
    """Sets the stored due time into the past, as waiting would."""
    async with opened(path) as store:
        await Ledger(store, link, SystemClock(), ThreadPoolExecutor(1)).set_due(1)
