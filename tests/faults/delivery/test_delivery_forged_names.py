"""An event whose keys spell the names of stamped columns: it is a row of its own, and rewrites nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.delivery.box import append, bodies, config_of, fetch, running

FORGED: list[dict[str, Any]] = [
    {"message_id": "victim"},
    {"message": {"id": "victim"}},
    {"MessageId": "victim"},
    {"message id": "victim"},
    {"properties": {"message_id": "victim", "_stream": "other"}},
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda forged: next(iter(forged)))
async def test_a_forged_key_reaches_no_other_row(
    tmp_path: Path, database: str, forged: dict[str, Any]
) -> None:
    attacks = [{"type": "track", "event": id_, "messageId": id_, "userId": "u"} | forged for id_ in "abc"]
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, bodies(["victim"]))
        await box.drained()
        await append(box.store, attacks)
        await box.drained()
    query = "SELECT message_id, event, _stream, _unmapped_data AS kept FROM events ORDER BY 1"
    rows = await fetch(database, query)
    assert [row["message_id"] for row in rows] == ["a", "b", "c", "victim"]
    assert [row["event"] for row in rows] == ["a", "b", "c", "e"]
    assert {row["_stream"] for row in rows} == {"site"}
    assert [row["kept"] is None for row in rows] == [False, False, False, True]
    assert "victim" in json.loads(rows[0]["kept"]).values()


async def test_a_forged_stamp_is_kept_aside(tmp_path: Path, database: str) -> None:
    forged = {"received_at": "1999-01-01T00:00:00Z", "request_ip": "6.6.6.6", "Type": "zzz"}
    async with running(tmp_path, {"pg": config_of(database)}) as box:
        await append(box.store, [bodies(["m"])[0] | forged | {"_unmapped_data": {"a": 1}}])
        await box.drained()
    (row,) = await fetch(database, "SELECT type, received_at, _unmapped_data AS kept FROM events")
    assert row["type"] == "track"
    assert row["received_at"].year > 2000
    assert json.loads(row["kept"]) == {f"/{key}": value for key, value in forged.items()} | {
        "/_unmapped_data/a": 1
    }
