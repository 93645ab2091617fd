"""Tries to reach destinations on behalf of callers: few at once, and none of them waits for long.

A caller has at most half of the places, however many they ask for, so who asks once is not behind all of
these. Event-loop thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, Protocol
from weakref import WeakValueDictionary

from server.catalog import Destination

_AT_ONCE: Final = 4
_OF_ONE_CALLER: Final = _AT_ONCE // 2
_TURN_S: Final = 6.0  # somewhat longer than one test may take: who is next in line gets a turn
NOT_TESTED: Final = "not tested: too many destinations are being tested; ask again for a test"


class Tested(Protocol):
    """What came of a try to reach a destination."""

    @property
    def ok(self) -> bool: ...
    @property
    def message(self) -> str: ...


Test = Callable[[Destination], Awaitable[Tested]]


class ConnectionTests:
    """`test` tries to reach a destination, in bounded time; so do these, with up to `turn_s` more."""

    def __init__(self, test: Test, turn_s: float = _TURN_S) -> None:
        self._test = test
        self._turn_s = turn_s
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._of_callers: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def error_of(self, destination: Destination, caller: str) -> str | None:
        """What is wrong with a destination, None if nothing is; `NOT_TESTED` if its turn does not come."""
        of_caller = self._of_callers.setdefault(caller, asyncio.Semaphore(_OF_ONE_CALLER))
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(self._turn_s):
                    await turn.enter_async_context(of_caller)
                    await turn.enter_async_context(self._places)
            except TimeoutError:
                return NOT_TESTED
            tested = await self._test(destination)
        return None if tested.ok else tested.message
