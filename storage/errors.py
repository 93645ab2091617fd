# ruff: noqa: N818 - they are named for what the store is
"""What can go wrong in the store. Every error has what was `attempted` and a `hint` for who must act.

StorageError
├── StoreLocked     another process has the directory
├── StoreTooNew     written by a newer version of the format
├── StoreDamaged    something on disk is not what was written
├── StoreFailed     the operating system or LMDB refused an operation
├── StoreFull       no room now; `retry_after_s` says when to ask again
├── StorePoisoned   a commit or fsync failed: nothing more is taken until the process restarts
└── StoreClosed     the store is closed, or closing
"""


class StorageError(Exception):
    """Any failure of the store. `attempted` is what was being done, `hint` what to do about it."""

    def __init__(self, attempted: str, hint: str) -> None:
        super().__init__(f"{attempted}: {hint}")
        self.attempted = attempted
        self.hint = hint


class StoreLocked(StorageError):
    """Another process holds the lock of the directory."""


class StoreTooNew(StorageError):
    """The directory was written by a newer version of the store's format."""


class StoreDamaged(StorageError):
    """What is on disk is not what was written."""


class StoreFailed(StorageError):
    """The operating system or LMDB refused an operation."""


class StoreFull(StorageError):
    """There is no room now; nothing was stored. Recovers by itself once there is."""

    def __init__(self, attempted: str, hint: str, retry_after_s: float) -> None:
        super().__init__(attempted, hint)
        self.retry_after_s = retry_after_s


class StorePoisoned(StorageError):
    """A commit or fsync failed, so what is durable is unknown until the store is opened again."""


class StoreClosed(StorageError):
    """The store is closed or closing; nothing was stored."""
