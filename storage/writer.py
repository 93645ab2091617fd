"""Group commit: everything that waits is made durable by one transaction, and its waiters are woken together.

The loop thread adds to the open commit; the writer thread takes it, performs it, and hands the outcome back
with one call_soon_threadsafe. The time of the commit before is the window in which the next one fills: there
is no timer. Invariants: a commit gets exactly one outcome, whatever the writer thread meets; who waits is
called in turn, in one go (a future each, and a turn of the loop for it, cost 2 µs a request), and no one's
failure or cancellation is another's; an error other than StoreFull poisons the store.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from .errors import StorageError, StoreClosed, StoreFull
from .poison import Poison

_log = logging.getLogger("penstock.storage")

Settled = Callable[[StorageError | None], None]
"""Told on the loop what became of something: None if it is durable. What it raises is logged."""

SWITCH_INTERVAL_S: Final = 0.0005
"""For sys.setswitchinterval, by whoever owns the process: how long the writer thread may wait for the GIL at
each of a commit's hand-overs. While delivery keeps the loop from idling, CPython's 5 ms add up to commits of
tens of milliseconds (ARCHITECTURE.md, Decisions).
"""


class Settling(Protocol):
    """What will be durable, or not."""

    def then(self, call: Settled) -> None: ...


class Commit:
    """What one transaction will make durable, and who waits for it. Filled and settled on the loop thread."""

    __slots__ = ("_waiting", "error", "settled", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.settled = False
        self.error: StorageError | None = None
        self._waiting: list[Settled] = []

    def then(self, call: Settled) -> None:
        """Have `call` told what became of the commit; at once if that is known."""
        if self.settled:
            call(self.error)
        else:
            self._waiting.append(call)

    def settle(self) -> None:
        """Tell all who wait; `error` is final."""
        self.settled = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            try:
                call(self.error)
            except Exception:  # the others wait behind it
                _log.exception("a call at the end of a commit failed")


def durable(subject: Settling) -> "asyncio.Future[None]":
    """A future of the caller's own: done once `subject` is durable, or with what became of it."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(error: StorageError | None) -> None:
        if waiter.done():  # cancelled
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error.with_traceback(None))

    subject.then(tell)
    return waiter


C = TypeVar("C", bound=Commit)


class GroupWriter(Generic[C]):
    """A writer thread and the commits in front of it."""

    def __init__(
        self,
        name: str,
        commit_bytes_max: int,
        new: Callable[[], C],
        perform: Callable[[C], None],
        settled: Callable[[C], None],
        poison: Poison,
    ) -> None:
        """`perform` runs on the writer thread and makes a commit durable; `settled` runs on the loop."""
        self.name = name
        self.lock = threading.Lock()
        self.pending_bytes = 0
        self._commit_bytes_max = commit_bytes_max
        self._new = new
        self._perform = perform
        self._settled = settled
        self._poison = poison
        self._open: C | None = None
        self._held: C | None = None
        self._gone = False
        self._queue: queue.SimpleQueue[C | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed: StoreClosed | None = None

    @property
    def refusal(self) -> StorageError | None:
        """Why nothing can be written any more."""
        return self._poison.error or self._closed

    @property
    def alive(self) -> bool:
        """Whether the writer thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread; outcomes are delivered on `loop`. A second call changes nothing."""
        if self._thread is not None:
            return
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name=f"penstock-{self.name}", daemon=True)
        self._thread.start()

    def join(self, size_bytes: int) -> C:
        """The commit to add `size_bytes` to. Call it, and add, under `lock`; on the loop thread."""
        commit = self._open
        if commit is None or commit.size_bytes + size_bytes > self._commit_bytes_max:
            assert self._loop is not None
            self._release()
            commit = self._open = self._held = self._new()
            # The writer is woken once this turn of the loop has added all it has: waking it at the first
            # append makes it fight for the GIL with the very appends it should carry (a third more events per
            # second).
            self._loop.call_soon(self._release_locked)
        commit.size_bytes += size_bytes
        self.pending_bytes += size_bytes
        return commit

    def _release(self) -> None:
        """Give the commit that was held back to the writer. Under `lock`."""
        if self._held is not None:
            self._queue.put(self._held)
            self._held = None
            if self._gone:
                self._abandon()

    def _release_locked(self) -> None:
        with self.lock:
            self._release()

    def stop(self, timeout_s: float) -> bool:
        """Take nothing more, make what is queued durable; False if that took longer than `timeout_s`."""
        with self.lock:
            self._release()
            if self._closed is None:
                self._closed = StoreClosed(f"write to the {self.name}", "the store is closed")
                self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        self._abandon()
        return True

    def _run(self) -> None:
        try:
            while (commit := self._queue.get()) is not None:
                with self.lock:
                    if self._open is commit:
                        self._open = None
                commit.error = self._outcome(commit)
                self._hand_back(commit)
        except BaseException as error:
            self._poison.set(f"run the writer of the {self.name}", error)
        finally:
            with self.lock:
                self._gone = True
            self._abandon()

    def _outcome(self, commit: C) -> StorageError | None:
        if self._poison.error is not None:
            return self._poison.error
        try:
            self._perform(commit)
        except StoreFull as full:
            return full
        except BaseException as error:
            return self._poison.set(f"commit to the {self.name}", error)
        return None

    def _hand_back(self, commit: C) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._finish, commit)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            pass

    def _finish(self, commit: C) -> None:
        self.pending_bytes -= commit.size_bytes
        try:
            self._settled(commit)
        finally:
            commit.settle()

    def _abandon(self) -> None:
        """Answer what is still queued when nobody will perform it."""
        while True:
            try:
                commit = self._queue.get_nowait()
            except queue.Empty:
                return
            if commit is not None:
                commit.error = self.refusal
                if self._loop is not None:
                    self._hand_back(commit)
