"""Tells the loop how far streams are durable: at once after a quiet while, else every few milliseconds.

Readers need no more than that, and a loop that is woken for each commit wants the GIL each time, from the
threads that take requests (it cost them a seventh of their speed). Threads: `announce` on any, all else on
the loop.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

Heads = Mapping[str, int]
"""Stream → last durable offset."""

_EVERY_S: Final = 0.01


class Announcer:
    """Whom to tell, and what was not told yet."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._grown: dict[str, int] = {}
        self._awaited = False
        """Whether the loop looks at `_grown` soon by itself."""
        self._subscribers: list[Callable[[Heads], None]] = []

    def subscribe(self, callback: Callable[[Heads], None]) -> None:
        """Call `callback` with the heads that grew, from now on; on the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._subscribers.append(callback)

    def unsubscribe(self, callback: Callable[[Heads], None]) -> None:
        """Ends a subscription; one that is not there is no error."""
        if callback in self._subscribers:
            self._subscribers.remove(callback)

    def announce(self, heads: Heads) -> None:
        """These are durable. Threads may come in any order: a head never goes back."""
        if not self._subscribers or self._loop is None:
            return
        with self._lock:
            for stream, head in heads.items():
                self._grown[stream] = max(head, self._grown.get(stream, 0))
            if self._awaited:
                return
            self._awaited = True
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._lock:
            grown, self._grown = self._grown, {}
            self._awaited = bool(grown)
        if grown:
            assert self._loop is not None
            self._loop.call_later(_EVERY_S, self._tell)
            for callback in tuple(self._subscribers):
                callback(grown)
