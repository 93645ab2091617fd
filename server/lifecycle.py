"""One run of the server: what starts in which order, what watches over it, and how it stops.

Start: store (lock first), and beside it the modules of the first stage → listener → the second stage
(delivery, and the routes that are not hot), loaded while events are taken; so the first 200 waits for the
store and for what takes events alone. What a stage needs is imported when its turn comes, here and in
`server/first_stage.py`, and nowhere else. Stop, each step bounded: listener and requests in flight →
flushers → connections → embedded Postgres → store (its writer queue drained). Thread: the event loop.
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
from pathlib import Path

import msgspec

from server.clock import SystemClock
from server.settings import ADDRESS_FILE, Config
from server.translation.store import store_options
from storage import SWITCH_INTERVAL_S, StorageError, Store

_OTHER_HOST = (
    "give an address of this machine with --host or server.host (127.0.0.1: itself alone, 0.0.0.0: all)"
)


class CannotListenError(Exception):
    """The address cannot be bound; the message says what to do."""


async def serve(config: Config) -> int:
    """Run the server until SIGTERM or SIGINT; `with_address` made the configuration. Returns the exit code: 0
    after an orderly stop, 1 if the store failed or delivery could not be started.

    Raises `StorageError` if the store cannot be opened and `CannotListenError` if the address is taken,
    before anything has started.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    _check_address(config)
    opening = loop.run_in_executor(None, Store.open, config.data_dir, store_options(config), clock)
    try:
        # Meanwhile: most of an opening is waiting for the child that reads the newest segment.
        from server.first_stage import take_events
        from server.run import Run

        store = await asyncio.shield(opening)
    except BaseException:
        with contextlib.suppress(StorageError):
            (await opening).close()
        raise
    address = config.data_dir / ADDRESS_FILE
    try:
        _write_address(address, config.url)
        run = Run(config, store, clock)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, run.stop_requested.set)
        store.on_poisoned(loop, run.store_poisoned)
        store.wal.start(loop)
        await take_events(run)
    finally:
        address.unlink(missing_ok=True)
        await asyncio.to_thread(store.close)
    return run.exit_code


def with_address(config: Config) -> Config:
    """With the address of the host that the configuration may name: Granian takes no names. IPv4 comes first,
    as clients that are given such a name use it. Blocking; raises `CannotListenError`.
    """
    host, port = config.server.host, config.server.port
    try:
        ways = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        words = f"{error.strerror if isinstance(error, OSError) else error}; {_OTHER_HOST}"
        raise CannotListenError(f"cannot listen on {host}: {words}") from error
    address = min(ways, key=lambda way: way[0] != socket.AF_INET)[4][0]
    server = msgspec.structs.replace(config.server, host=str(address))
    return msgspec.structs.replace(config, server=server)


def _check_address(config: Config) -> None:
    """Fail early and in words: Granian would report a taken port from its own thread."""
    host, port = config.server.host, config.server.port
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        no_host = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
        hint = _OTHER_HOST if no_host else "choose another with --port or server.port"
        place = config.url.removeprefix("http://")
        raise CannotListenError(f"cannot listen on {place}: {error.strerror}; {hint}") from error


def _write_address(path: Path, url: str) -> None:
    """For the command line, which sends the admin token there: nobody else may write it, whatever the umask
    is and whoever made a former one.
    """
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
        file.write(f"{url}\n")
