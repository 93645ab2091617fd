"""Turns of connection tests: bounded at once, fair to callers, and never long waited for."""

import asyncio

from server.catalog import Destination
from server.outbound import ConnectionTest
from server.routes.connection_tests import NOT_TESTED, ConnectionTests

SOME = Destination(id="d", type="postgres", embedded=True)
SOON_S, NEVER_S = 0.01, 60.0


class Silent:
    """Destinations that do not answer until they are told to."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.began: asyncio.Queue[None] = asyncio.Queue()
        self.running = 0
        self.most = 0

    async def test(self, _destination: Destination) -> ConnectionTest:
        self.running += 1
        self.most = max(self.most, self.running)
        self.began.put_nowait(None)
        await self.answer.wait()
        self.running -= 1
        return ConnectionTest(False, "no")

    async def begun(self, count: int) -> None:
        """Wait until so many more tests run."""
        async with asyncio.timeout(10):
            for _ in range(count):
                await self.began.get()


async def test_one_caller_leaves_places_to_others() -> None:
    silent = Silent()
    tests = ConnectionTests(silent.test, NEVER_S)
    many = [asyncio.create_task(tests.error_of(SOME, "greedy")) for _ in range(20)]
    await silent.begun(2)
    other = asyncio.create_task(tests.error_of(SOME, "other"))
    await silent.begun(1)
    silent.answer.set()
    assert await other == "no"
    assert await asyncio.gather(*many) == ["no"] * 20


async def test_whose_turn_does_not_come_is_told() -> None:
    silent = Silent()
    tests = ConnectionTests(silent.test, SOON_S)
    first = [asyncio.create_task(tests.error_of(SOME, f"caller-{n // 2}")) for n in range(4)]
    await silent.begun(4)
    assert [await tests.error_of(SOME, caller) for caller in ("caller-0", "third")] == [NOT_TESTED] * 2
    silent.answer.set()
    assert await asyncio.gather(*first) == ["no"] * 4
    assert await tests.error_of(SOME, "third") == "no"
    assert silent.most == 4
