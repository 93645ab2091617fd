"""A destination moves from database to database and back: every event is in the one that was in force, once,
whatever is killed or put back to an older copy in between.

A course is written as a word: `a` and `b` move the destination there, `.` takes an event in and delivers it,
`w` takes one in that is delivered after the next move, `c` copies database a, `r` puts the copy back, `k`
starts the process anew.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import asyncpg
import pytest

from server.delivery import LinkConfig
from tests.faults.delivery.box import (
    BATCHED,
    IMPATIENT,
    LINK,
    Box,
    append,
    bodies,
    config_of,
    fetch,
    fill,
    message_ids,
    running,
    until,
    without_key,
)
from tests.faults.delivery.test_delivery_crashes import IDS, crash_at

Connection = "asyncpg.Connection[asyncpg.Record]"
PLAIN = without_key()
COURSES = (
    "a.b.a.b.",
    "a.ba.ba.b.ab.a.",
    "a..b.ka.kb.k",
    "aba.b.",
    "a.wb.wa.wb.",
    "ac.b.ra.b.",
    "ac.b.a.r.b.a.",
    "a.c.rb.a.b.",
    "a.c.r.b.a.b.",
    "a.c..b.ra.kb.a.",
    "a.c.b.a.b.a.rkb.a.",
    "ac.b.rabakb.a.",
    "a.b.a.c.b.ra.r.b.a.",
)
"""The last move of each is to a, or nothing of it was put back since: what a lost it has again then."""


@dataclass
class Copy:
    """Database a as it was: the ids in its table, and the progress rows."""

    ids: list[str]
    rows: list[asyncpg.Record]


async def began(url: str) -> bool:
    found = await fetch(url, "SELECT to_regclass('penstock.progress') IS NOT NULL AS there")
    return bool(found[0]["there"] and await fetch(url, "SELECT 1 FROM penstock.progress"))


async def copied(url: str) -> Copy:
    """As one moment saw it, for a link may deliver meanwhile."""
    await until(lambda: began(url))
    async with opened(url) as connection, connection.transaction(isolation="repeatable_read"):
        there = await connection.fetchval("SELECT to_regclass('events') IS NOT NULL")
        ids = await connection.fetch("SELECT message_id FROM events ORDER BY 1") if there else []
        rows = await connection.fetch("SELECT * FROM penstock.progress")
    return Copy([row["message_id"] for row in ids], rows)


async def put_back(url: str, copy: Copy) -> None:
    """All of it at one moment: of a flush under way either everything is undone, or nothing."""
    async with opened(url) as connection, connection.transaction():
        await connection.execute("SELECT FROM penstock.progress FOR UPDATE")
        await connection.execute("DELETE FROM events WHERE message_id <> ALL ($1)", copy.ids)
        await put_back_rows(connection, copy.rows)


async def put_back_rows(connection: Connection, rows: list[asyncpg.Record]) -> None:
    for row in rows:
        await connection.execute(
            "UPDATE penstock.progress SET epoch = $2, batch_id = $3, last_offset = $4, outcome = $5,"
            " fingerprint = $6 WHERE link_id = $1",
            *(row[name] for name in ("link_id", "epoch", "batch_id", "last_offset", "outcome")),
            row["fingerprint"],
        )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass
class Course:
    """Follows a word; `expected` is what each database has in the end."""

    path: Path
    urls: dict[str, str]
    links: list[LinkConfig]
    expected: dict[str, list[str]] = field(default_factory=lambda: {"a": [], "b": []})
    at: str = "a"
    taken_in: int = 0
    waiting: list[str] = field(default_factory=list)

    async def follow(self, word: str) -> None:
        copy: Copy | None = None
        stack, box = await self._started()
        for step in word:
            if step in "ab":
                await self._move(box, step)
            elif step in ".w":
                await self._take_in(box, deliver=step == ".")
            elif step == "k":
                await stack.aclose()
                stack, box = await self._started()
            elif step == "c":
                await self._drained(box)
                copy = await copied(self.urls["a"])
            elif copy is not None:
                await put_back(self.urls["a"], copy)
        await self._drained(box)
        await stack.aclose()

    async def _started(self) -> tuple[AsyncExitStack, Box]:
        stack = AsyncExitStack()
        places = {"pg": config_of(self.urls[self.at])}
        return stack, await stack.enter_async_context(running(self.path, places, self.links))

    async def _move(self, box: Box, to: str) -> None:
        self.at = to
        await box.delivery.apply(self.links, {"pg": config_of(self.urls[to])})
        if self.waiting:
            self.expected[to] += self.waiting
            self.waiting = []
            for link in self.links:
                await box.delivery.resume(link.id)
            await self._drained(box)

    async def _take_in(self, box: Box, *, deliver: bool) -> None:
        self.taken_in += 1
        id_ = f"t{self.taken_in:02}"
        if deliver:
            self.expected[self.at].append(id_)
        else:
            self.waiting.append(id_)
            for link in self.links:
                await box.delivery.pause(link.id)
        await append(box.store, bodies([id_]))
        if deliver:
            await self._drained(box)

    async def _drained(self, box: Box) -> None:
        for link in self.links:
            await box.drained(link.id)


@pytest.mark.parametrize(
    "link", [PLAIN, pytest.param(LINK, marks=pytest.mark.long)], ids=["no-key", "merge-key"]
)
@pytest.mark.parametrize("word", COURSES)
async def test_every_event_is_where_the_destination_was(
    word: str, link: LinkConfig, tmp_path: Path, database: str, other: str
) -> None:
    course = Course(tmp_path, {"a": database, "b": other}, [link])
    await course.follow(word)
    assert await message_ids(database) == course.expected["a"]
    assert await message_ids(other) == course.expected["b"]


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 60))])
async def test_any_course(seed: int, tmp_path: Path, database: str, other: str) -> None:
    word = "".join(Random(seed).choices("aabb....ccrrk", k=24))
    course = Course(tmp_path, {"a": database, "b": other}, [PLAIN])
    await course.follow(f"a.{word}kab.a.")
    assert await message_ids(database) == course.expected["a"], word
    assert await message_ids(other) == course.expected["b"], word


async def test_two_links_of_one_destination(tmp_path: Path, database: str, other: str) -> None:
    links = [PLAIN, replace(LINK, id="second", table_name="others")]
    course = Course(tmp_path, {"a": database, "b": other}, links)
    await course.follow("a.b..ka.b.a.")
    for table in ("events", "others"):
        assert await message_ids(database, table) == course.expected["a"]
        assert await message_ids(other, table) == course.expected["b"]


BEFORE_COMMIT = ("take-over done, before its answer", "intent durable, nothing sent", "before COMMIT")
AFTER_COMMIT = ("committed, before its answer", "checkpoint moved, next batch begun")
KILLS = [
    *(pytest.param(step, "a", id=f"{step}, then back") for step in BEFORE_COMMIT),
    *(pytest.param(step, "b", id=f"{step}, then on") for step in AFTER_COMMIT),
    *(pytest.param(step, "b", id=f"{step}, then on", marks=pytest.mark.long) for step in BEFORE_COMMIT),
]


@pytest.mark.parametrize(("step", "then"), KILLS)
async def test_kill_9_between_the_move_and_its_first_batch(
    step: str, then: str, tmp_path: Path, database: str, other: str
) -> None:
    course = Course(tmp_path, {"a": database, "b": other}, [BATCHED])
    await course.follow("a.")
    await fill(tmp_path, bodies(IDS))
    await crash_at(step, tmp_path, other)
    course.at = then
    course.expected[then] += IDS
    await course.follow("." + ("b.a." if then == "a" else "a.b."))
    assert await message_ids(database) == sorted(course.expected["a"])
    assert await message_ids(other) == sorted(course.expected["b"])


async def test_kill_9_and_the_file_says_another_database_then(
    tmp_path: Path, database: str, other: str
) -> None:
    """Nobody asks the one that was left: the batch in doubt is in both, that is said, and nothing else is."""
    course = Course(tmp_path, {"a": database, "b": other}, [BATCHED])
    await course.follow("a.")
    await fill(tmp_path, bodies(IDS))
    await crash_at("committed, before its answer", tmp_path, other)
    async with running(tmp_path, {"pg": config_of(database)}, [BATCHED]) as box:
        await box.drained()
        assert "nobody knows whether" in (box.status().alarm or "")
    await course.follow("b.a.")
    assert await message_ids(database) == [*IDS, *course.expected["a"]]
    assert await message_ids(other) == [*IDS[:600], *course.expected["b"]]


async def test_a_batch_in_doubt_that_is_asked_about_when_its_database_is_back(
    tmp_path: Path, database: str, other: str
) -> None:
    await fill(tmp_path, bodies(IDS))
    await crash_at("committed, before its answer", tmp_path, database)
    waiting = replace(BATCHED, mode="batch", batch_events_max=10_000)
    async with running(tmp_path, {"pg": config_of(other)}, [waiting]):
        await until(lambda: began(other))
    course = Course(tmp_path, {"a": database, "b": other}, [BATCHED])
    course.expected["a"] += IDS
    await course.follow(".b.a.")
    assert await message_ids(database) == course.expected["a"]
    assert await message_ids(other) == course.expected["b"]


async def test_parked_events_are_delivered_where_the_link_is(
    tmp_path: Path, database: str, other: str
) -> None:
    """And what one database lost of them comes again there, and not what the other one has."""
    link = replace(PLAIN, layout="segment")
    urls = {"a": database, "b": other}
    expected = {"a": ["t01"], "b": ["t02"]}
    await Course(tmp_path, urls, [link]).follow("a.b.a")
    rows: list[asyncpg.Record] = []
    async with running(tmp_path, {"pg": config_of(database)}, [link], limits=IMPATIENT) as box:
        for at, to, id_ in (("a", "b", "p1"), ("b", "a", "p2"), ("a", "a", "p3")):
            await box.delivery.apply([link], {"pg": config_of(urls[at])})
            holder = await asyncpg.connect(urls[at])
            await holder.execute("BEGIN; LOCK TABLE e")
            await append(box.store, bodies([id_]))
            await until(lambda: bool(box.status().parked))
            rows = await fetch(urls[at], "SELECT * FROM penstock.progress")
            await box.delivery.apply([link], {"pg": config_of(urls[to])})
            await holder.close()
            await until(lambda: not box.status().parked)
            expected[to].append(id_)
    for table in ("e", "tracks"):
        await fetch(database, f"DELETE FROM {table} WHERE message_id = 'p3'")
    async with opened(database) as connection:
        await put_back_rows(connection, rows)
    async with running(tmp_path, {"pg": config_of(database)}, [link]) as box:
        await until(lambda: (box.status().alarm or "").endswith("parked events comes again"))
        await until(lambda: not box.status().parked)
    for at, url in urls.items():
        assert await message_ids(url, "e") == await message_ids(url, "tracks") == sorted(expected[at])
