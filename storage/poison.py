"""The one-way switch of a store: after a failed commit or fsync it takes nothing until it is reopened.

Why: after a failed fsync the kernel may have dropped the dirty pages, and the next fsync can falsely succeed.
What is durable is known again once the store was opened anew. Any thread may set it; watchers run on the
setting thread.
"""

import threading
from collections.abc import Callable

from .errors import StorePoisoned

Watcher = Callable[[StorePoisoned], None]


class Poison:
    """Shared by every writer of a store."""

    def __init__(self) -> None:
        self.error: StorePoisoned | None = None
        self._watchers: list[Watcher] = []
        self._lock = threading.Lock()

    def set(self, attempted: str, cause: BaseException) -> StorePoisoned:
        """The first cause wins."""
        with self._lock:
            if self.error is not None:
                return self.error
            self.error = StorePoisoned(attempted, f"{cause!r}; restart the process to see what is durable")
            self.error.__cause__ = cause
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher(self.error)
        return self.error

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` once, at once if it has already happened. It must not raise."""
        with self._lock:
            if self.error is None:
                self._watchers.append(watcher)
                return
            error = self.error
        watcher(error)
