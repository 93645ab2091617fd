"""Group commit: everything that waits is made durable by one transaction, and its waiters are told together.

Any thread adds to the open commit; the writer thread takes it, performs it, and tells those who wait. What
comes while it performs one joins the next; and where there is a window, the next waits that long for more.
Invariants: a commit gets exactly one outcome, whatever the writer
thread meets; who waits is told in turn, in one go (a future each, and a turn of the loop for it, cost 2 us a
request), and no one's failure or cancellation is another's; an error other than StoreFull poisons the store.
"""

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Final, Generic, Protocol, TypeVar

from .errors import StorageError, StoreClosed, StoreFull
from .poison import Poison

_log = logging.getLogger("penstock.storage")

_LATE_S: Final = 0.001
"""How long after its window an open commit waits for the thread that fills it to begin it (`give_way`)."""

Settled = Callable[[StorageError | None], None]
"""Told what became of something: None if it is durable. On the writer thread or that which gave way to it; at
once, if it is known already. What it raises is logged.
"""

SWITCH_INTERVAL_S: Final = 0.0005
"""For sys.setswitchinterval, by whoever owns the process: how long the writer thread may wait for the GIL at
each of a commit's hand-overs. While delivery keeps the loop from idling, CPython's 5 ms add up to commits of
tens of milliseconds (ARCHITECTURE.md, Decisions).
"""


class Settling(Protocol):
    """What will be durable, or not."""

    def then(self, call: Settled) -> None: ...


class Commit:
    """What one transaction will make durable, and who waits for it. Filled under the writer's lock."""

    __slots__ = ("_waiting", "error", "performed", "released", "settled", "size_bytes", "turn")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.released = False
        """Whether the writer has been told of it."""
        self.performed = False
        """Whether `error` is known: it is settled soon."""
        self.settled = False
        self.error: StorageError | None = None
        self.turn: threading.Lock | None = None
        """Held until all who wait are told, for the thread that gives way meanwhile."""
        self._waiting: deque[Settled] = deque()

    def then(self, call: Settled) -> None:
        """Have `call` told what became of the commit; at once if that is known. Any thread."""
        self._waiting.append(call)
        if self.settled:
            self._tell()

    def settle(self) -> None:
        """Tell all who wait; `error` is final."""
        self.settled = True
        self._tell()

    def _tell(self) -> None:
        waiting = self._waiting
        while waiting:
            try:
                call = waiting.popleft()
            except IndexError:  # `then` and `settle` met, and the other one took it
                return
            try:
                call(self.error)
            except Exception:  # the others wait behind it
                _log.exception("a call at the end of a commit failed")


def durable(subject: Settling) -> "asyncio.Future[None]":
    """A future of the caller's own: done once `subject` is durable, or with what became of it."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(error: StorageError | None) -> None:
        if waiter.done():  # cancelled
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error.with_traceback(None))

    def tell(error: StorageError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(wake, error)

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
        window_s: float = 0.0,
    ) -> None:
        """`perform` makes a commit durable, on the writer thread; `settled` hears of each, before who waits.
        A commit begins `window_s` after the end of that before, or later; at once, if it is full.
        """
        self.name = name
        self.lock = threading.Lock()
        self.pending_bytes = 0
        self._commit_bytes_max = commit_bytes_max
        self._new = new
        self._perform = perform
        self._settled = settled
        self._poison = poison
        self._window_s = window_s
        self._due_s = 0.0
        self._open: C | None = None
        self._performing = False
        self._gone = False
        self._queue: queue.SimpleQueue[C | None] = queue.SimpleQueue()
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

    def start(self) -> None:
        """Start the thread. A second call changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"penstock-{self.name}", daemon=True)
            self._thread.start()

    def join(self, size_bytes: int) -> C:
        """The commit to add `size_bytes` to. Call it, and add, under `lock`. Raises `refusal` once the thread
        has gone.
        """
        if self._gone and (refusal := self.refusal) is not None:
            raise refusal.with_traceback(None)
        commit = self._open
        if commit is None or commit.size_bytes + size_bytes > self._commit_bytes_max:
            if commit is not None:
                self._release(commit)
            commit = self._open = self._new()
            if perf_counter() >= self._due_s:
                self._release(commit)
        commit.size_bytes += size_bytes
        self.pending_bytes += size_bytes
        return commit

    def give_way(self) -> None:
        """For a thread that takes requests, after each append: if a commit is due, have it begun, wait for
        it, no longer than the window, and tell who waits.

        A thread that goes on meanwhile fights for the GIL with the writer at each of the commit's hand-overs:
        CPython wakes the writer each time that thread lets go of it, and it comes too late. And what that
        thread has in its caches the writer has not (ARCHITECTURE.md, Decisions).
        """
        commit = self._open
        if commit is None or perf_counter() < self._due_s:
            return
        with self.lock:
            if self._open is not commit or self._performing:
                return  # it is on its way, or has to wait for one that takes its time
            turn = commit.turn = threading.Lock()
            turn.acquire()
            self._release(commit)
        if not turn.acquire(timeout=self._window_s):
            with self.lock:
                commit.turn = None
                if not commit.performed:
                    return
        self._finish(commit)

    def stop(self, timeout_s: float) -> bool:
        """Take nothing more, make what is queued durable; False if that took longer than `timeout_s`."""
        with self.lock:
            if self._open is not None:
                self._release(self._open)
            if self._closed is None:
                self._closed = StoreClosed(f"write to the {self.name}", "the store is closed")
                self._queue.put(None)
            if self._thread is None:
                self._gone = True
                return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _release(self, commit: C) -> None:
        """Give the commit to the writer, once. Under `lock`."""
        if not commit.released:
            commit.released = True
            self._queue.put(commit)

    def _run(self) -> None:
        try:
            while (commit := self._next()) is not None:
                with self.lock:
                    self._performing = True
                    if self._open is commit:
                        self._open = None
                commit.error = self._outcome(commit)
                with self.lock:
                    self._due_s = perf_counter() + self._window_s
                    self._performing = False
                    commit.performed = True
                    turn = commit.turn
                if turn is not None:
                    turn.release()
                else:
                    self._finish(commit)
        except BaseException as error:
            self._poison.set(f"run the writer of the {self.name}", error)
        finally:
            self._abandon()

    def _next(self) -> C | None:
        """The commit whose turn it is, None at the end."""
        if self._window_s:
            with suppress(queue.Empty):
                left_s = self._due_s + _LATE_S - perf_counter()
                return self._queue.get(timeout=left_s) if left_s > 0 else self._queue.get_nowait()
            with self.lock:
                if self._open is not None:
                    self._release(self._open)
        return self._queue.get()

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

    def _finish(self, commit: C) -> None:
        with self.lock:
            self.pending_bytes -= commit.size_bytes
        try:
            self._settled(commit)
        except BaseException as error:
            self._poison.set(f"settle a commit to the {self.name}", error)
        commit.settle()

    def _abandon(self) -> None:
        """Answer what nobody will perform any more."""
        with self.lock:
            self._gone = True
            if self._open is not None:
                self._release(self._open)
                self._open = None
        with suppress(queue.Empty):
            while True:
                commit = self._queue.get_nowait()
                if commit is not None:
                    commit.error = self.refusal
                    self._finish(commit)
