"""What each option of a link does to the rows in Postgres."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.clock import SystemClock
from server.delivery import Fate, LinkConfig
from tests.faults.delivery.box import (
    LINK,
    STREAM,
    append,
    bodies,
    config_of,
    fetch,
    fill,
    running,
    until,
)

FIRST, AGAIN = (bodies(["m"], orderId=n)[0] | {"userId": f"u{n}"} for n in (1, 2))


async def delivered(path: Path, url: str, link: LinkConfig, *batches: list[dict[str, Any]]) -> None:
    """Each batch is in the table before the next is appended."""
    async with running(path, {"pg": config_of(url)}, [link]) as box:
        for events in batches:
            await append(box.store, events)
            await box.drained()


async def tables(url: str) -> dict[str, int]:
    """Rows of each table."""
    found = await fetch(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {name: len(await fetch(url, f'SELECT 1 FROM "{name}"')) for (name,) in found}


async def columns(url: str, table: str = "events") -> set[str]:
    query = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'"
    return {name for (name,) in await fetch(url, query)}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("segment-single-table", {"events": 3}),
        ("segment", {"e": 2, "tracks": 2, "identifies": 1}),
        ("jitsu-legacy", {"events": 3}),
        ("passthrough", {"events": 3}),
    ],
)
async def test_data_layout(tmp_path: Path, database: str, layout: Any, expected: dict[str, int]) -> None:
    events = [*bodies(["a", "b"], orderId=1), {"type": "identify", "messageId": "c", "userId": "u"}]
    await delivered(tmp_path, database, replace(LINK, layout=layout), events, events[:1])
    assert await tables(database) == expected


@pytest.mark.parametrize("layout", ["segment-single-table", "segment", "jitsu-legacy", "passthrough"])
async def test_the_default_key_merges_in_every_layout(tmp_path: Path, database: str, layout: Any) -> None:
    """The same id by way of two stores: ingest knows no repeat, the key does."""
    link, table = replace(LINK, layout=layout), "tracks" if layout == "segment" else "events"
    await delivered(tmp_path / "first", database, link, [FIRST])
    await delivered(tmp_path / "second", database, link, [AGAIN])
    assert (await tables(database))[table] == 1


async def test_primary_key(tmp_path: Path, database: str) -> None:
    events = [bodies([id_], orderId=n)[0] | {"userId": "u"} for n, id_ in enumerate("abc")]
    await delivered(tmp_path, database, replace(LINK, primary_key=("user_id",)), events[:2], events[2:])
    (row,) = await fetch(database, "SELECT message_id, order_id FROM events")
    assert tuple(row) == ("c", 2)


async def test_without_deduplicate_rows_are_only_added(tmp_path: Path, database: str) -> None:
    events = [bodies([id_])[0] | {"userId": "u"} for id_ in "ab"]
    link = replace(LINK, primary_key=("user_id",), deduplicate=False)
    await delivered(tmp_path, database, link, events[:1], events[1:])
    assert await tables(database) == {"events": 2}


@pytest.mark.parametrize(
    ("layout", "column"),
    [("segment-single-table", "timestamp"), ("jitsu-legacy", "_timestamp"), ("passthrough", "timestamp")],
)
async def test_timestamp_column(tmp_path: Path, database: str, layout: Any, column: str) -> None:
    await delivered(tmp_path, database, replace(LINK, layout=layout), bodies(["a"]))
    (row,) = await fetch(database, f'SELECT pg_typeof("{column}")::text FROM events')
    assert row[0] == "timestamp with time zone"
    indexes = await fetch(database, "SELECT indexdef FROM pg_indexes WHERE tablename = 'events'")
    assert any(f"({column})" in row[0].replace('"', "") for row in indexes)


@pytest.mark.parametrize("layout", ["segment-single-table", "segment", "jitsu-legacy", "passthrough"])
async def test_partition(tmp_path: Path, database: str, layout: Any) -> None:
    """By the time of receipt, whatever its column is called."""
    await delivered(tmp_path, database, replace(LINK, layout=layout, partition="day"), bodies(["a"]))
    table = "tracks" if layout == "segment" else "events"
    (row,) = await fetch(database, f"SELECT relkind::text FROM pg_class WHERE relname = '{table}'")
    assert row[0] == "p"
    assert (await tables(database))[table] == 1


async def test_schema_freeze(tmp_path: Path, database: str) -> None:
    await delivered(tmp_path, database, LINK, bodies(["a"], known=1))
    frozen = replace(LINK, schema_freeze=True)
    await delivered(tmp_path, database, frozen, bodies(["b"], known=2, unknown=3))
    assert "unknown" not in await columns(database)
    (row,) = await fetch(database, "SELECT known, _unmapped_data::text FROM events WHERE message_id = 'b'")
    assert tuple(row) == (2, '{"unknown": 3}')


async def test_keep_original_names(tmp_path: Path, database: str) -> None:
    await delivered(tmp_path, database, replace(LINK, keep_original_names=True), [FIRST])
    (row,) = await fetch(database, 'SELECT "messageId", "orderId" FROM events')
    assert tuple(row) == ("m", 1)


async def test_batch_size(tmp_path: Path, database: str) -> None:
    """Rows of one transaction share their xmin."""
    await fill(tmp_path, bodies([f"m{n}" for n in range(25)]))
    async with running(tmp_path, {"pg": config_of(database)}, [replace(LINK, batch_events_max=10)]) as box:
        await box.drained()
    found = await fetch(database, "SELECT count(*) FROM events GROUP BY xmin ORDER BY 1")
    assert [row[0] for row in found] == [5, 10, 10]


async def test_frequency(tmp_path: Path, database: str) -> None:
    """Mode batch: the due time, which is in the catalog, is that many minutes off."""
    link = replace(LINK, mode="batch", frequency_minutes=7)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        before_ms = SystemClock().wall_ms()
        await append(box.store, bodies(["a"]))
        ledger = box.delivery._flushers[LINK.id].ledger
        await until(lambda: ledger.checkpoint.due_ms is not None)
        due_ms = ledger.checkpoint.due_ms or 0
    assert 0 <= due_ms - before_ms - 7 * 60_000 < 30_000
    assert await tables(database) == {}


async def test_table_name_template(tmp_path: Path, database: str) -> None:
    link = replace(LINK, table_name_template="orders_{{.properties.shop}}", table_name="others")
    events = [*bodies(["a"], shop="Praha 1"), *bodies(["b"], shop="Brno"), *bodies(["c"])]
    await delivered(tmp_path, database, link, events)
    assert await tables(database) == {"orders_praha_1": 1, "orders_brno": 1, "others": 1}


@pytest.mark.parametrize(
    "link",
    [
        replace(LINK, layout="segment"),
        replace(LINK, table_name_template="{{.event}}"),
    ],
    ids=["segment", "template"],
)
async def test_a_name_from_an_event_reaches_no_table_of_others(
    tmp_path: Path, database: str, link: LinkConfig
) -> None:
    """Neither by its name nor in part: the row of `tracks` is not written without the other."""
    await fetch(database, "CREATE TABLE salaries (message_id text, event text)")
    event = bodies(["a"])[0] | {"event": "salaries"}
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await append(box.store, [event, *bodies(["b"])])
        await box.drained()
        letters = box.delivery.dead_letters.page(link.id)
    assert "not made by Penstock" in letters[0].reason
    assert len(letters) == 1
    found = await tables(database)
    assert found.pop("salaries") == 0
    assert set(found.values()) == {1}


async def test_a_table_of_others_is_taken_over_by_its_comment(tmp_path: Path, database: str) -> None:
    await fetch(database, "CREATE TABLE tracks (message_id text, event text)")
    await fetch(database, "COMMENT ON TABLE tracks IS 'penstock: event table'")
    await delivered(tmp_path, database, replace(LINK, layout="segment"), bodies(["a"]), bodies(["b"]))
    assert await tables(database) == {"e": 2, "tracks": 2}


async def begun(path: Path, url: str, start_from: Any) -> list[str]:
    """What a link delivers that is first seen when a and b are there, and c comes."""
    link = replace(LINK, start_from=start_from)
    async with running(path, {"pg": config_of(url)}, [link]) as box:
        await until(lambda: box.delivery._flushers[LINK.id].ledger.checkpoint.epoch > 0)
        await append(box.store, bodies(["c"]))
        await box.drained()
        assert box.status().lag_events == 0
    return [row[0] for row in await fetch(url, "SELECT message_id FROM events ORDER BY 1")]


@pytest.mark.parametrize(("start_from", "expected"), [("oldest", ["a", "b", "c"]), ("now", ["c"])])
async def test_start_from(tmp_path: Path, database: str, start_from: Any, expected: list[str]) -> None:
    await fill(tmp_path, bodies(["a"]))
    await fill(tmp_path, bodies(["b"]))
    assert await begun(tmp_path, database, start_from) == expected


async def test_start_from_a_time(tmp_path: Path, database: str) -> None:
    await fill(tmp_path, bodies(["a"]))
    between_ms = SystemClock().wall_ms() + 1
    while SystemClock().wall_ms() <= between_ms:
        pass
    await fill(tmp_path, bodies(["b"]))
    assert await begun(tmp_path, database, between_ms) == ["b", "c"]


async def test_now_is_decided_once_and_outlives_a_destination_that_is_away(
    tmp_path: Path, database: str
) -> None:
    """What comes after the first start is delivered, also if only a later start reaches the destination; and
    what was there before is none of the link's.
    """
    await fill(tmp_path, bodies(["before"]))
    away, link = config_of(database, port=1), replace(LINK, start_from="now")
    async with running(tmp_path, {"pg": away}, [link], stop_s=0.1) as box:
        before = box.store.wal.head(STREAM)
        await until(lambda: box.delivery._flushers[LINK.id].ledger.checkpoint.begin == before)
        await append(box.store, bodies(["after"]))
        assert box.delivery.keep_after()[STREAM] >= before
        assert box.delivery.link_outcome(STREAM, before) == []
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await box.drained()
        (outcome,) = box.delivery.link_outcome(STREAM, box.store.wal.head(STREAM))
        assert outcome.fate is Fate.DELIVERED
    assert [row[0] for row in await fetch(database, "SELECT message_id FROM events")] == ["after"]
