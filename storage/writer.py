"""Group commit: everything that waits is made durable by one transaction, and told of it together.

The loop thread queues; the writer thread takes what is there, performs it as one transaction, and settles
each item itself. The time of the commit before is the window in which the next one fills: there is no timer.
What has to be done for each item is done by the writer, in one go: a turn of the loop for the answers, and a
search, a lock and an object for each item on the way, took as long as the transaction (ARCHITECTURE.md,
Decisions). Invariants: an item is settled exactly once, whatever the writer thread meets; no one's failure or
cancellation is another's; an error other than StoreFull poisons the store.
"""

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import msgspec

from .errors import StorageError, StoreClosed, StoreFull
from .poison import Poison

_log = logging.getLogger("penstock.storage")

SWITCH_INTERVAL_S: Final = 0.0005
"""For sys.setswitchinterval, by whoever owns the process: how long the writer thread may wait for the GIL at
each of a commit's hand-overs. While delivery keeps the loop from idling, CPython's 5 ms add up to commits of
tens of milliseconds (ARCHITECTURE.md, Decisions).
"""


class Queued(msgspec.Struct, kw_only=True):
    """What is to be durable. Queued on the loop, settled by the writer; `error` says why it is not stored.

    A struct, for it is made once a request (0.15 µs; with an `__init__` 0.5).
    """

    size_bytes: int = 0
    settled: bool = False
    error: StorageError | None = None
    waiters: "list[asyncio.Future[None]] | None" = None

    def settle(self, error: StorageError | None) -> None:
        """It is durable, or not for `error`. On the writer's thread, once."""
        self.error = error
        self.settled = True
        if self.waiters is not None:
            for waiter in self.waiters:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    waiter.get_loop().call_soon_threadsafe(_tell, waiter, error)

    def durable(self) -> "asyncio.Future[None]":
        """A future of the caller's own, on the running loop: done once this is durable, or with StoreFull,
        StorePoisoned or StoreClosed.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)
        if self.settled:  # perhaps too early for the writer to see the waiter
            _tell(waiter, self.error)
        return waiter


def _tell(waiter: "asyncio.Future[None]", error: StorageError | None) -> None:
    if waiter.done():  # cancelled, or told already
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error.with_traceback(None))


Q = TypeVar("Q", bound=Queued)


class GroupWriter(Generic[Q]):
    """A writer thread and what waits in front of it."""

    def __init__(
        self,
        name: str,
        commit_bytes_max: int,
        perform: Callable[[list[Q], int], None],
        poison: Poison,
        tidy: Callable[[], bool] = lambda: False,
    ) -> None:
        """`perform` makes items of so many bytes durable in one transaction, on the writer thread: at most
        `commit_bytes_max`, or one. StoreFull from it: nothing was stored. `tidy` is called there after each
        commit, and while nothing waits as long as it says that there is more to do.
        """
        self.name = name
        self._commit_bytes_max = commit_bytes_max
        self._perform = perform
        self._poison = poison
        self._tidy = tidy
        self._queue: deque[Q] = deque()
        # Each thread counts for itself, so that neither needs a lock.
        self._queued_bytes = 0
        self._settled_bytes = 0
        self._signal: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True: look at the queue; False: do so for the last time."""
        self._woken = False
        self._stopping = False
        self._gone = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.refusal: StorageError | None = None
        """Why nothing can be written any more."""
        poison.watch(self._refuse)

    @property
    def alive(self) -> bool:
        """Whether the writer thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def pending_bytes(self) -> int:
        """Queued, and not settled yet."""
        return self._queued_bytes - self._settled_bytes

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread, for items that are queued on `loop`; `put` does so, too. A second call changes
        nothing.
        """
        if self._thread is not None or self._stopping:
            return
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name=f"penstock-{self.name}", daemon=True)
        self._thread.start()

    def put(self, item: Q) -> None:
        """Queue an item; on the loop thread."""
        if self._thread is None:
            self.start(asyncio.get_running_loop())
        self._queue.append(item)
        self._queued_bytes += item.size_bytes
        if self._gone:
            self._abandon()
        elif not self._woken:
            assert self._loop is not None
            self._woken = True
            # Once this turn of the loop has queued all it has: woken at the first item, the writer would
            # fight for the GIL with those that it should carry.
            self._loop.call_soon(self._signal.put, True)

    def wake(self) -> None:
        """Have the writer look at the queue, and tidy. Any thread."""
        self._signal.put(True)

    def stop(self, timeout_s: float) -> bool:
        """Take nothing more, make what is queued durable; False if that took longer than `timeout_s`."""
        if not self._stopping:
            self._stopping = True
            self._refuse(self.refusal or StoreClosed(f"write to the {self.name}", "the store is closed"))
            self._signal.put(False)
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        self._gone = True
        self._abandon()
        return True

    def on_loop(self, call: Callable[..., object], *arguments: Any) -> None:
        """Have `call` called on the loop; not if that is closed. Any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *arguments)

    def _run(self) -> None:
        try:
            while self._signal.get():
                self._drain()
            self._drain()
        except BaseException as error:
            self._poison.set(f"run the writer of the {self.name}", error)
        finally:
            self._gone = True
            self._abandon()

    def _drain(self) -> None:
        more = True
        while self._queue or more:
            if self._queue:
                self._commit()
            more = self._tidy()
            if not (self._queue or more):
                self._woken = False  # before the last look: what was queued just now woke nobody

    def _commit(self) -> None:
        items, size_bytes = self._taken()
        self._settle(items, size_bytes, self._outcome(items, size_bytes))

    def _taken(self) -> tuple[list[Q], int]:
        """The next commit, and its bytes."""
        waiting = self._queue
        items = [waiting.popleft()]
        size_bytes = items[0].size_bytes
        while waiting and (more_bytes := size_bytes + waiting[0].size_bytes) <= self._commit_bytes_max:
            items.append(waiting.popleft())
            size_bytes = more_bytes
        return items, size_bytes

    def _outcome(self, items: list[Q], size_bytes: int) -> StorageError | None:
        if self._poison.error is not None:
            return self._poison.error
        try:
            self._perform(items, size_bytes)
        except StoreFull as full:
            return full.with_traceback(None)  # it would hold the items
        except BaseException as error:
            return self._poison.set(f"commit to the {self.name}", error)
        return None

    def _settle(self, items: list[Q], size_bytes: int, error: StorageError | None) -> None:
        self._settled_bytes += size_bytes
        for item in items:
            try:
                item.settle(error)
            except BaseException:  # the others wait behind it
                _log.exception("a call at the end of a commit failed")

    def _abandon(self) -> None:
        """Answer what is still queued when nobody will perform it."""
        error = self.refusal or self._poison.error
        assert error is not None  # None would say that it is durable
        with suppress(IndexError):
            while True:
                item = self._queue.popleft()
                self._settle([item], item.size_bytes, error)

    def _refuse(self, error: StorageError) -> None:
        self.refusal = error
