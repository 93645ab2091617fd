"""What a link waits for between its attempts, and what ends a wait: the time, a stop, an operator.

Thread: the event loop; what it says of itself may be read anywhere.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from server.clock import SystemClock

from .backoff import Backoff
from .links import LinkState


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a link waits after a failed attempt: ceilings of the back-off, in seconds. `pause_*` are the
    breaker's.
    """

    retry_first_s: float = 0.5
    retry_cap_s: float = 60.0
    pause_first_s: float = 120.0
    pause_cap_s: float = 900.0


DEFAULT_PATIENCE: Final = Patience()


class StoppedError(Exception):
    """The link was told to stop while it could not go on."""


class PausedError(Exception):
    """An operator paused the link: let go of everything and wait."""


class Waits:
    """One per link. `paused` is what an operator wants, `state` what the link is doing."""

    def __init__(self, clock: SystemClock, patience: Patience, random: Random, *, paused: bool) -> None:
        self.state = LinkState.PAUSED if paused else LinkState.WAITING
        self.paused = paused
        self.next_attempt_ms: int | None = None
        self.retry = Backoff(patience.retry_first_s, patience.retry_cap_s, random)
        self.breaker = Backoff(patience.pause_first_s, patience.pause_cap_s, random)
        self._clock = clock
        self._stopping = False
        self.leaving = False
        self._news = asyncio.Event()

    def stop(self) -> None:
        """Ends every wait, now and later."""
        self._stopping = True
        self._news.set()

    def leave(self) -> None:
        """As `stop`, and waits for a next batch end too."""
        self.leaving = True
        self.stop()

    def check(self) -> None:
        """Between two batches. Raises StoppedError if the link leaves, PausedError if it was paused."""
        if self.leaving:
            raise StoppedError
        if self.paused:
            raise PausedError

    def pause(self) -> None:
        """Ends the wait under way; the next one raises PausedError."""
        self.paused = True
        self._news.set()

    def resume(self) -> None:
        """Ends the wait under way, whatever it is for: an operator says that things are mended."""
        self.paused = False
        if self.state is LinkState.PAUSED:
            self.state = LinkState.WAITING
        self.retry.reset()
        self.breaker.reset()
        self._news.set()

    async def until_resumed(self) -> None:
        """Returns at once unless the link is paused. Raises StoppedError."""
        while self.paused:
            self.state = LinkState.PAUSED
            if self._stopping:
                raise StoppedError
            self._news.clear()
            await self._news.wait()
        self.state = LinkState.WAITING

    async def before_retry(self, state: LinkState, seconds: float) -> None:
        """Waits that long, in `state`. Raises StoppedError or PausedError instead of waiting on."""
        self._check()
        before, self.state = self.state, state
        self.next_attempt_ms = self._clock.wall_ms() + round(seconds * 1000)
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass
        self._check()
        self.state = before

    async def for_task(self, task: asyncio.Task[Any], seconds: float | None) -> None:
        """Waits for the task, no longer than `seconds` or the next news; then `check`."""
        self.check()
        self._news.clear()
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait({task, news}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        self.check()

    def _check(self) -> None:
        if self._stopping:
            raise StoppedError
        if self.paused:
            raise PausedError
