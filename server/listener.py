"""Granian's worker, with every request shown to us before it becomes a task.

Granian makes an asyncio task of each request, and one that reads its body comes to the loop twice before
anything is known of it. Here a request is first shown to `begin`, on Granian's Python thread: what that takes
never becomes a task; the rest goes Granian's own way. The private names are those of the version in the lock
(source: granian/server/embed.py and granian/_futures.py of 2.8.7); an update has to look at them again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from granian import _futures as futures
from granian import _granian as native
from granian.server.embed import AsyncWorker

from server.routes.rsgi import Exchange

_log = logging.getLogger("penstock.listener")

_futures = cast(Any, futures)
_native = cast(Any, native)
_worker = cast(Any, AsyncWorker)


def spawning(begin: Callable[[Exchange], bool], on_listening: Callable[[], None]) -> Callable[..., None]:
    """For `granian.server.embed.Server.serve`: how its worker is made. `begin` says whether it took the
    request; `on_listening` is called once requests are taken.
    """

    async def spawn(
        number: int,
        stop: native.WorkerSignal,
        target: Any,
        listening: object,
        loop: asyncio.AbstractEventLoop,
        *settings: Any,
    ) -> None:
        *threads, _task_kind, mode, http1, http2, websockets, files, _log, tls, _scope = settings
        options = (*threads, mode, http1, http2, websockets, files, *tls)
        worker = _native.RSGIWorker(number, listening, None, *options, (None, None))
        stopped = loop.create_future()
        stop.add_cb(lambda: loop.call_soon_threadsafe(stopped.set_result, None))
        worker.serve_async(_scheduler(loop, target, begin), loop, stop)
        on_listening()
        await stopped

    return cast(Callable[..., None], _worker.wrap_target(spawn))


def _scheduler(loop: asyncio.AbstractEventLoop, target: Any, begin: Callable[[Exchange], bool]) -> object:
    application = _futures._future_watcher_wrapper(target.__rsgi__)
    # The last three are for Granian's other kind of task, which is driven from Rust.
    scheduler = _native.CallbackScheduler(loop, application, None, None, None)
    make_task = _futures._cbsched_aioschedule(loop, scheduler._ctx, application)

    def schedule(exchange: Exchange) -> None:
        try:
            taken = begin(exchange)
        except Exception:  # nobody above would see it, nor answer the request
            _log.exception("a request could not be begun")
            taken = False
        if not taken:
            make_task(exchange)

    scheduler._schedule_fn = schedule
    return cast(object, scheduler)
