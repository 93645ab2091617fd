"""What takes events, from the open store on: the listener, and what watches over it until it has to stop.

Once it listens, the second stage is loaded beside it (`server/second_stage.py`). Thread: the event loop.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.server.embed import Server

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
    calm_collector()  # until now it was off (server/commands/serve.py)
    return second_stage


def _load_second_stage() -> "type[SecondStage]":
    from server.second_stage import SecondStage

    return SecondStage
