"""What takes events, from the open store on: the listener, and what watches over it until it has to stop.

Once it listens, the second stage is loaded beside it (`server/second_stage.py`). Thread: the event loop.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.server.embed import Server

from server.app import Entry
from server.collector import calm_collector
from server.listener import spawning
from server.logs import GRANIAN_CONFIG
from server.routes.framework import Asgi
from server.run import Run

if TYPE_CHECKING:
    from server.second_stage import SecondStage

_log = logging.getLogger("penstock")

_LISTENER_STOP_S = 10.0
_BACKLOG = 1024


async def take_events(run: Run) -> None:
    """Until a stop is asked for or something fails: `run.exit_code` says which. Then stop, each step
    bounded.
    """
    due = asyncio.Event()
    loading = asyncio.create_task(_second_stage(run, due), name="second stage")
    loading.add_done_callback(partial(_loaded, run))

    async def application() -> Asgi | None:
        """None if there is none any more: the run ends. A request that is cut does not end the loading."""
        if not loading.done():
            await asyncio.wait([loading])
        if loading.cancelled() or loading.exception() is not None or (loaded := loading.result()) is None:
            return None
        return loaded.application

    entry = run.entry(application)
    housekeeping = asyncio.create_task(run.housekeeping.run(run.keep_after, run.tick), name="housekeeping")
    if run.has_dated_links:
        due.set()
        await asyncio.wait([loading])
    if not run.stop_requested.is_set():  # else nobody knows, perhaps, where those links begin
        await _listen(run, entry, due.set, housekeeping)
    if not due.is_set():
        loading.cancel()
    # If it is not imported yet, it is not started either.
    (second_stage,) = await asyncio.gather(loading, return_exceptions=True)
    if second_stage is not None and not isinstance(second_stage, BaseException):
        await second_stage.stop()
    housekeeping.cancel()
    await asyncio.gather(housekeeping, return_exceptions=True)


async def _listen(
    run: Run, entry: Entry, on_listening: Callable[[], None], housekeeping: "asyncio.Task[None]"
) -> None:
    """Until a stop is asked for, or the listener or housekeeping ends by itself; then until the requests in
    flight are answered, those too that wait for the second stage.
    """
    server = Server(
        entry,
        address=run.config.server.host,
        port=run.config.server.port,
        interface=Interfaces.RSGI,
        websockets=False,
        backlog=_BACKLOG,
        log_dictconfig=GRANIAN_CONFIG,
    )
    listener = asyncio.create_task(server.serve(spawning(entry.begin, on_listening)), name="listener")
    _log.info("taking events on %s", run.config.url)
    stop = asyncio.create_task(run.stop_requested.wait(), name="stop")
    await asyncio.wait([stop, listener, housekeeping], return_when=asyncio.FIRST_COMPLETED)
    run.ended_early([listener, housekeeping])
    _log.info("stopping")
    run.stopping = True
    run.tick()
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait([listener], timeout=_LISTENER_STOP_S)
    for task in (stop, listener):
        task.cancel()
    await asyncio.gather(stop, listener, return_exceptions=True)


async def _second_stage(run: Run, due: asyncio.Event) -> "SecondStage | None":
    """Load and start it once it is due; None if the run is to end by then."""
    await due.wait()
    made = await asyncio.to_thread(_load_second_stage)
    if run.stop_requested.is_set():
        return None
    second_stage = made(run)
    await second_stage.start()
    calm_collector()  # until now it was off (server/commands/serve.py)
    return second_stage


def _loaded(run: Run, loading: "asyncio.Task[SecondStage | None]") -> None:
    """Whatever ended it: without delivery the server must not go on."""
    if loading.cancelled():
        if not run.stopping:
            run.not_loaded(asyncio.CancelledError("its loading was cancelled"))
    elif (error := loading.exception()) is not None:
        run.not_loaded(error)


def _load_second_stage() -> "type[SecondStage]":
    from server.second_stage import SecondStage

    return SecondStage
