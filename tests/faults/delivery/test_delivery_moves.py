"""A destination moves from database to database and back: every event is in the one that was in force, once,
whatever is killed or put back to an older copy in between.

A course is written as a word: `a` and `b` move the destination there, `.` takes an event in and delivers it,
`w` takes one in that is delivered after the next move, `c` copies database a, `r` puts the copy back, `k`
starts the process anew.
"""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from server.delivery import LinkConfig
from tests.conftest import fresh_database
from tests.faults.delivery.box import (
    LINK,
    Box,
    append,
    bodies,
    config_of,
    fetch,
    message_ids,
    running,
    until,
    without_key,
)

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


@pytest.fixture
def other(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url) as url:
        yield url


@dataclass
class Copy:
    """Database a as it was: the ids in its table, and the progress rows."""

    ids: list[str]
    rows: list[asyncpg.Record]


async def began(url: str) -> bool:
    found = await fetch(url, "SELECT to_regclass('penstock.progress') IS NOT NULL AS there")
    return bool(found[0]["there"] and await fetch(url, "SELECT 1 FROM penstock.progress"))


async def copied(url: str) -> Copy:
    await until(lambda: began(url))
    there = await fetch(url, "SELECT to_regclass('events') IS NOT NULL AS there")
    ids = await message_ids(url) if there[0]["there"] else []
    return Copy(ids, await fetch(url, "SELECT * FROM penstock.progress"))


async def put_back(url: str, copy: Copy) -> None:
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute("DELETE FROM events WHERE message_id <> ALL($1)", copy.ids)
        for row in copy.rows:
            await connection.execute(
                "UPDATE penstock.progress SET epoch = $2, batch_id = $3, last_offset = $4, outcome = $5,"
                " fingerprint = $6 WHERE link_id = $1",
                *(row[name] for name in ("link_id", "epoch", "batch_id", "last_offset", "outcome")),
                row["fingerprint"],
            )
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
        id_ = f"m{self.taken_in:02}"
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


@pytest.mark.parametrize("link", [PLAIN, LINK], ids=["no-key", "merge-key"])
@pytest.mark.parametrize("word", COURSES)
async def test_every_event_is_where_the_destination_was(
    word: str, link: LinkConfig, tmp_path: Path, database: str, other: str
) -> None:
    course = Course(tmp_path, {"a": database, "b": other}, [link])
    await course.follow(word)
    assert await message_ids(database) == course.expected["a"]
    assert await message_ids(other) == course.expected["b"]
