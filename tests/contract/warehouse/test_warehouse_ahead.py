"""Encoding a batch before its turn: never more than a short cut, whatever happens to the table in between."""

from dataclasses import replace

from server.warehouse.encode import give_way


async def ahead(link, *values):
    """The batch behind the one in flight, encoded as far as possible."""
    batch = link.batch(values)
    encoded = await link.destination.encode_ahead(link.key.link_id, batch.rows, link.options, give_way)
    return replace(batch, encoded=encoded)


async def table(sql):
    return [dict(row) for row in await sql.fetch("SELECT * FROM events ORDER BY message_id")]


async def test_what_is_encoded_ahead_lands(link, sql):
    await link.flush({"message_id": "a", "n": 1})
    batch = await ahead(link, {"message_id": "b", "n": 2}, {"message_id": "b", "n": 3})
    assert batch.encoded is not None
    assert (await link.land(batch)).rows == 1
    assert [(row["message_id"], row["n"]) for row in await table(sql)] == [("a", 1), ("b", 3)]


async def test_unknown_tables_and_columns_are_left_to_the_flush(link, sql):
    batch = await ahead(link, {"message_id": "a", "n": 1})
    assert batch.encoded is None
    await link.land(batch)
    batch = await ahead(link, {"message_id": "b", "n": 2, "new": True})
    assert batch.encoded is None
    await link.land(batch)
    assert [row["new"] for row in await table(sql)] == [None, True]


async def test_a_column_that_went_away_in_between_comes_back(link, sql):
    await link.flush({"message_id": "a", "n": 1})
    batch = await ahead(link, {"message_id": "b", "n": 2})
    await sql.execute("ALTER TABLE events DROP COLUMN n")
    await link.land(batch)
    assert [row["n"] for row in await table(sql)] == [None, 2]


async def test_a_plan_that_learned_in_between_does_not_mix_columns(link, make_link, sql):
    """Another link made the column: this one's plan takes it up without a change of the table."""
    other = await make_link("other")
    await link.flush({"message_id": "a", "n": 1})
    await other.flush({"message_id": "z", "x": 0.5})
    await link.flush({"message_id": "b", "n": 2})
    batch = await ahead(link, {"message_id": "c", "n": 3})
    assert batch.encoded is not None
    await link.destination.flush(link.key, link.batch([{"message_id": "d", "x": 1.5, "n": 4}]))
    behind = replace(
        batch, batch_id="behind", after_offset=batch.last_offset, last_offset=batch.last_offset + 1
    )
    await link.land(behind)
    assert [(row["message_id"], row["n"], row["x"]) for row in await table(sql)] == [
        ("a", 1, None),
        ("b", 2, None),
        ("c", 3, None),
        ("d", 4, 1.5),
        ("z", None, 0.5),
    ]
