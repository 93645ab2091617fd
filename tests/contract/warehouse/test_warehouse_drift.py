"""Columns that somebody alters while events flow: what was encoded for the former type is encoded again."""

import json
from dataclasses import replace

import pytest

from server.warehouse.encode import give_way

_ALTER = "ALTER TABLE events ALTER price TYPE bigint, ALTER n TYPE double precision"


@pytest.mark.parametrize("deduplicate", [False, True])
async def test_a_column_of_another_type_of_the_same_length(make_link, sql, deduplicate):
    """Straight COPY would take a double's bytes for a bigint; a merge would round it."""
    link = await make_link(deduplicate=deduplicate)
    await link.flush({"message_id": "a", "price": 1.5, "n": 1})
    await sql.execute(_ALTER)
    await link.flush({"message_id": "b", "price": 2.5, "n": 3})
    row = await sql.fetchrow("SELECT price, n, _unmapped_data FROM events WHERE message_id = 'b'")
    assert (row["price"], row["n"]) == (None, 3.0)
    assert json.loads(row["_unmapped_data"]) == {"price": 2.5}


async def test_a_column_that_changes_after_its_rows_were_encoded(make_link, sql):
    link = await make_link(deduplicate=False)
    await link.flush({"message_id": "a", "n": 1})
    batch = link.batch([{"message_id": "b", "n": 2}])
    encoded = await link.destination.encode_ahead(link.key.link_id, batch.rows, link.options, give_way)
    assert encoded is not None
    await sql.execute("ALTER TABLE events ALTER n TYPE double precision")
    await link.land(replace(batch, encoded=encoded))
    assert await sql.fetch("SELECT n FROM events ORDER BY message_id") == [(1.0,), (2.0,)]
