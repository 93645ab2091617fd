"""One run of the server: what starts in which order, what watches over it, and how it stops.

Start: store (lock first) → listener → the second stage (delivery, and the routes that are not hot), loaded
while events are taken; so the first 200 waits for the store alone. Stop, each step bounded: listener and
requests in flight → flushers → connections → embedded Postgres → store (its writer queue drained). Thread:
the event loop.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.server.embed import Server

from server.clock import SystemClock
from server.listener import spawning
from server.logs import GRANIAN_CONFIG
from server.routes.framework import Asgi
from server.run import Run
from server.settings import ADDRESS_FILE, Config
from server.translation import store_options
from storage import SWITCH_INTERVAL_S, Store

if TYPE_CHECKING:
    from server.second_stage import SecondStage

_log = logging.getLogger("penstock")

_LISTENER_STOP_S = 10.0
_BACKLOG = 1024


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
    store = Store.open(config.data_dir, store_options(config), clock)
    address = config.data_dir / ADDRESS_FILE
    try:
        host = f"[{config.server.host}]" if ":" in config.server.host else config.server.host
        address.write_text(f"http://{host}:{config.server.port}\n")
        run = Run(config, store, clock)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, run.stop_requested.set)
        store.on_poisoned(loop, run.store_poisoned)
        store.wal.start(loop)
        await _run(run)
    finally:
        address.unlink(missing_ok=True)
        await asyncio.to_thread(store.close)
    return run.exit_code


async def _run(run: Run) -> None:
    listening = asyncio.Event()
    loading = asyncio.create_task(_second_stage(run, listening), name="second stage")

    async def application() -> Asgi:
        """Shielded: a request that is cut does not end the loading."""
        return (await asyncio.shield(loading)).application

    entry = run.entry(application)
    server = Server(
        entry,
        address=run.config.server.host,
        port=run.config.server.port,
        interface=Interfaces.RSGI,
        websockets=False,
        backlog=_BACKLOG,
        log_dictconfig=GRANIAN_CONFIG,
    )
    listener = asyncio.create_task(server.serve(spawning(entry.begin, listening.set)), name="listener")
    housekeeping = asyncio.create_task(run.housekeeping.run(run.keep_after, run.tick), name="housekeeping")
    _log.info("taking events on http://%s:%d", run.config.server.host, run.config.server.port)
    stop = asyncio.create_task(run.stop_requested.wait(), name="stop")
    await asyncio.wait([stop, listener, housekeeping], return_when=asyncio.FIRST_COMPLETED)
    run.ended_early([listener, housekeeping])
    _log.info("stopping")
    run.stopping = True
    run.tick()
    server.stop()  # type: ignore[no-untyped-call]
    # Requests in flight may wait for the second stage: it goes on loading.
    await asyncio.wait([listener], timeout=_LISTENER_STOP_S)
    if not listening.is_set():
        loading.cancel()
    (second_stage,) = await asyncio.gather(loading, return_exceptions=True)
    if not isinstance(second_stage, BaseException):
        await second_stage.stop()
    for task in (stop, listener, housekeeping):
        task.cancel()
    await asyncio.gather(stop, listener, housekeeping, return_exceptions=True)


async def _second_stage(run: Run, listening: asyncio.Event) -> "SecondStage":
    """Load and start it once events are taken; if it cannot be, the run ends."""
    await listening.wait()
    try:
        made = await asyncio.to_thread(_load_second_stage)
        second_stage = made(run)
        await second_stage.start()
    except Exception as error:
        run.not_loaded(error)
        raise
    _calm_collector()
    return second_stage


def _load_second_stage() -> "type[SecondStage]":
    from server.second_stage import SecondStage

    return SecondStage


def _calm_collector() -> None:
    """Make the cyclic collector rare: what requests leave behind is freed by reference counts.

    With the defaults it took a tenth of the loop's time under load (the dedupe sets are large and live
    long), see ARCHITECTURE.md, Decisions.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


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
