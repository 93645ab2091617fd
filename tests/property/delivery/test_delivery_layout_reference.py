"""Every layout against the plain reference: row by row, and as tables in Postgres however events are cut into
batches and whatever two links of one table do to each other.
"""

import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.delivery.layouts import AnyLayout, layout_of
from server.delivery.links import LinkConfig, table_options
from server.delivery.stamps import LayoutName, stamps_of
from server.warehouse import AnyRow, Batch, Destination, LinkKey, LocalProgress
from tests.faults.delivery.box import config_of
from tests.property.delivery.layout_reference import LAYOUTS, Row, as_is, merged

LINK = LinkConfig("link", "site", "pg", generation=1, mode="stream")
WORDS = st.sampled_from(["a", "b", "Ж"])


def some(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


TRAITS = some(plan=WORDS, firstName=WORDS, email=WORDS, name=WORDS, age=st.integers(0, 3))
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "track", "identify", "group", "page", "screen", "alias"]),
        "messageId": st.sampled_from(["m1", "m2", "m3"]),
        "receivedAt": st.just("2026-11-21T05:55:57.001Z"),
        "event": st.sampled_from(["Order Done", "tracks", "Заказ"]),
        "groupId": st.just("g"),
    },
    optional={
        "userId": WORDS,
        "anonymousId": WORDS,
        "traits": TRAITS,
        "properties": some(
            plan=WORDS,
            orderId=st.integers(0, 3),
            userId=WORDS,
            type=WORDS,
            url=WORDS,
            title=WORDS,
            items=st.lists(some(skuId=st.integers(0, 2)), max_size=2),
            ok=st.booleans(),
            nested=some(deepKey=WORDS),
            traits=some(plan=WORDS, age=st.integers(0, 3)),
        ),
        "context": some(
            ip=st.just("203.0.113.9"),
            locale=WORDS,
            groupId=WORDS,
            traits=TRAITS,
            page=some(url=st.just("https://shop.example/"), title=WORDS, path=st.just("/x")),
            campaign=some(name=WORDS, utmId=WORDS),
            screen=st.fixed_dictionaries({"width": st.integers(1, 3)}),
        ),
    },
)


@pytest.mark.parametrize("name", LAYOUTS)
@given(events=st.lists(EVENTS, min_size=1, max_size=4))
@settings(max_examples=60)
def test_rows_are_those_of_the_reference(name: LayoutName, events: list[dict[str, Any]]) -> None:
    """Twice, so that what the first pass learned says the same."""
    layout = layout_of(replace(LINK, layout=name))
    for event in events * 2:
        assert rows_of(layout, event) == LAYOUTS[name](event)


@pytest.mark.parametrize("name", ["segment-single-table", "segment"])
@given(events=st.lists(EVENTS, min_size=1, max_size=4))
def test_with_original_names_too(name: LayoutName, events: list[dict[str, Any]]) -> None:
    layout = layout_of(replace(LINK, layout=name, keep_original_names=True))
    for event in events * 2:
        assert rows_of(layout, event) == LAYOUTS[name](event, as_is)


def rows_of(layout: AnyLayout, event: dict[str, Any]) -> list[tuple[str, Row]]:
    rows: list[AnyRow] = []
    layout.lay_out(1, event, rows)
    return [(row.table, row.values) for row in rows]


@asynccontextmanager
async def two_links(database: str, name: LayoutName) -> Any:
    """Two streams into the same tables."""
    sql, destination = await asyncpg.connect(database), Destination(config_of(database), 2)
    await sql.execute("DROP SCHEMA IF EXISTS public, penstock CASCADE; CREATE SCHEMA public")
    links = [
        Lane(destination, replace(LINK, id=stream, stream_id=stream, layout=name))
        for stream in ("one", "two")
    ]
    try:
        for link in links:
            await link.take_over()
        yield sql, links
    finally:
        await destination.close()
        await sql.close()


class Lane:
    """One link that flushes what it is given, through its layout."""

    def __init__(self, destination: Destination, link: LinkConfig) -> None:
        self.stream = link.stream_id
        self._destination = destination
        self._layout = layout_of(link)
        self._options = table_options(link)
        self._key = LinkKey("store", link.id, 1)
        self._epoch = self._last = 0

    async def take_over(self) -> None:
        self._epoch = (await self._destination.take_over(self._key, LocalProgress(0, 0))).epoch

    async def flush(self, events: list[dict[str, Any]]) -> None:
        rows: list[AnyRow] = []
        for offset, event in enumerate(events, self._last + 1):
            self._layout.lay_out(offset, event, rows)
        end = self._last + len(events)
        batch = Batch(self._epoch, f"b{end}", self._last, end, rows, b"", self._options)
        await self._destination.flush(self._key, batch)
        self._last = end


async def stored(sql: "asyncpg.Connection[asyncpg.Record]") -> dict[str, list[Row]]:
    """Every row of every table; what is kept aside under its path."""
    tables: dict[str, list[Row]] = {}
    for (table,) in await sql.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        found = await sql.fetch(f'SELECT to_jsonb(t)::text FROM "{table}" t')
        tables[table] = [flat(json.loads(row[0])) for row in found]
    return tables


def flat(row: Row) -> Row:
    aside = row.pop("_unmapped_data", None) or {}
    return {name: value for name, value in (row | aside).items() if value is not None}


def canonical(tables: dict[str, list[Row]], times: set[str]) -> dict[str, list[str]]:
    """Rows that can be compared, whatever their order; times are left to the tests of types."""
    return {
        table: sorted(
            json.dumps({n: v for n, v in row.items() if n not in times}, sort_keys=True) for row in rows
        )
        for table, rows in tables.items()
    }


def pieces(events: list[Any], cuts: set[int]) -> Iterator[list[Any]]:
    bounds = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    return (events[first:end] for first, end in pairwise(bounds))


@pytest.mark.parametrize("name", LAYOUTS)
@given(
    events=st.lists(st.tuples(st.integers(0, 1), EVENTS), min_size=1, max_size=10),
    cuts=st.sets(st.integers(1, 9)),
)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_batches_of_two_links_give_the_tables_of_the_reference(
    database: str, name: LayoutName, events: list[tuple[int, dict[str, Any]]], cuts: set[int]
) -> None:
    stamps = stamps_of(name, keep_original_names=False)
    async with two_links(database, name) as (sql, links):
        for piece in pieces(events, cuts):
            for turn in (0, 1):
                mine = [event for link, event in piece if link == turn]
                if mine:
                    await links[turn].flush(mine)
        rows = [
            (links[turn].stream, table, row) for turn, event in events for table, row in LAYOUTS[name](event)
        ]
        times = {stamps.received_at, stamps.timestamp, "received_at"}
        expected = canonical(merged(rows, stamps.message_id), times)
        assert canonical(await stored(sql), times) == expected
