"""How far long work is, on standard error: one line that changes on a terminal, else one now and then."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import click

from storage import Transfer

LOOK_S = 0.2
_SAY_S = 10.0
_MIB = 1024 * 1024

_T = TypeVar("_T")


class Progress:
    """`show` as often as there is news, then `end`."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._said_s = time.monotonic()
        self._shown = False

    def show(self, doing: str, done_bytes: int, total_bytes: int) -> None:
        """Say it, if it is time to."""
        if not self._terminal and time.monotonic() - self._said_s < _SAY_S:
            return
        self._said_s = time.monotonic()
        of = f" of {megabytes(total_bytes)}" if total_bytes else ""
        words = f"{doing}: {megabytes(min(done_bytes, total_bytes or done_bytes))}{of}"
        if self._terminal:
            click.echo(f"\r\x1b[K{words}", err=True, nl=False)
            self._shown = True
        else:
            click.echo(words, err=True)

    def end(self) -> None:
        """Leave the line as it was found."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


def megabytes(size_bytes: int) -> str:
    """For people."""
    return f"{size_bytes / _MIB:.1f} MiB"


def follow(work: Callable[[], _T], transfer: Transfer) -> _T:
    """Do blocking work in a thread and show how far its transfer is; Ctrl-C stops it, and is raised then."""
    progress = Progress()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            while not future.done():
                progress.show(transfer.doing, transfer.done_bytes, transfer.total_bytes)
                time.sleep(LOOK_S)
        except KeyboardInterrupt:
            transfer.stop()
            raise
        finally:
            progress.end()
    return future.result()
