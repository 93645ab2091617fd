"""Tables that take longer for a batch than a statement may: what has to get there gets there, once."""

from pathlib import Path

from server.warehouse import Limits
from tests.faults.delivery.box import (
    append,
    bodies,
    config_of,
    fetch,
    message_ids,
    running,
    until,
    without_key,
)

TIGHT = Limits(statement_timeout_s=0.4)
SLOW = (
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
    "$$BEGIN PERFORM pg_sleep({}); RETURN NEW; END$$",
    "CREATE TRIGGER slow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION slow()",
)


async def test_a_table_slower_than_a_batch_gets_smaller_ones(tmp_path: Path, database: str) -> None:
    async with running(tmp_path, {"pg": config_of(database)}, [without_key()], limits=TIGHT) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        for statement in SLOW:
            await fetch(database, statement.format("0.01"))
        await append(box.store, bodies([f"m{n:03}" for n in range(120)]))
        await until(lambda: "57014" in (box.status().last_error or ""))
        await box.drained()
        assert (box.status().delivered, box.status().last_error) == (121, None)
        size = box.delivery._flushers["link"].preparer.size
        assert size.events_max < 120
        await fetch(database, "DROP TRIGGER slow ON events")
    assert await message_ids(database) == ["a", *(f"m{n:03}" for n in range(120))]


async def test_a_single_event_that_takes_too_long_is_tried_until_it_goes_in(
    tmp_path: Path, database: str
) -> None:
    async with running(tmp_path, {"pg": config_of(database)}, [without_key()], limits=TIGHT) as box:
        await append(box.store, bodies(["a"]))
        await box.drained()
        for statement in SLOW:
            await fetch(database, statement.format("10"))
        await append(box.store, bodies(["m1", "m2", "m3"]))
        size = box.delivery._flushers["link"].preparer.size
        await until(lambda: size.events_max == 1)
        await until(lambda: "statement_timeout_s" in (box.status().last_error or ""))
        await fetch(database, "DROP TRIGGER slow ON events")
        await box.drained()
    assert await message_ids(database) == ["a", "m1", "m2", "m3"]
