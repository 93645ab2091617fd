"""One run of the server: what starts in which order, what watches over it, and how it stops.

Start: store (lock first), and beside it the modules of the first stage → listener → the second stage
(delivery, and the routes that are not hot), loaded while events are taken; so the first 200 waits for the
store and for what takes events alone. What a stage needs is imported when its turn comes, here and in
`server/first_stage.py`, and nowhere else. Stop, each step bounded: listener and requests in flight →
flushers → connections → embedded Postgres → store (its writer queue drained). Thread: the event loop.
"""

import asyncio
import contextlib
import signal
import socket
import sys

from server.clock import SystemClock
from server.settings import ADDRESS_FILE, Config
from server.translation.store import store_options
from storage import SWITCH_INTERVAL_S, StorageError, Store


class CannotListenError(Exception):
    """The address cannot be bound; the message says what to do."""


async def serve(config: Config) -> int:
    """Run the server until SIGTERM or SIGINT. Returns the exit code: 0 after an orderly stop, 1 if the store
    failed or delivery could not be started.

    Raises `StorageError` if the store cannot be opened and `CannotListenError` if the address is taken,
    before anything has started.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    _check_address(config.server.host, config.server.port)
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
        host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
        address.write_text(f"http://{host}:{config.server.port}\n")
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


def _check_address(host: str, port: int) -> None:
    """Fail early and in words: Granian would report a taken port from its own thread."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = (
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or server.port"
            )
            raise CannotListenError(message) from error
