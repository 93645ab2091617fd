"""Health, readiness and metrics: for supervisors and scrapers. No secrets, no payloads."""

import asyncio
from collections.abc import Callable, Iterable

from blacksheep import Application, Content, Request, Response

from server.clock import SystemClock
from server.health import Heartbeats
from server.metrics import Source, exposition
from server.routes.admin import AdminAccess
from server.routes.responses import json_response
from storage import WalStats


def register_operations(
    app: Application,
    heartbeats: Heartbeats,
    unready: Callable[[], str | None],
    sources: Iterable[Source],
    store_stats: Callable[[], WalStats],
    access: AdminAccess,
    clock: SystemClock,
) -> None:
    """Add the routes. `unready()` says why events cannot be taken, None if they can."""

    async def health(_request: Request) -> Response:
        """200 while every loop of the process reports in time and the log's writer lives."""
        late = heartbeats.late(clock.monotonic_s())
        if not store_stats().writer_alive:
            return json_response(503, {"status": "fail", "output": "the writer of the log has ended"})
        if late:
            said: dict[str, object] = {"status": "fail", "output": "loops that do not report", "late_s": late}
            return json_response(503, said)
        return json_response(200, {"status": "pass"})

    async def ready(_request: Request) -> Response:
        """200 while events can be taken; else 503 and the reason."""
        reason = unready()
        if reason is not None:
            return json_response(503, {"status": "fail", "output": reason})
        return json_response(200, {"status": "pass"})

    async def metrics(request: Request) -> Response:
        """The Prometheus exposition; from loopback, or with the admin token."""
        if not access.is_loopback(request) and (refused := access.refusal(request)):
            return refused
        body, content_type = await asyncio.to_thread(exposition, sources, store_stats())
        return Response(200, None, Content(content_type.encode(), body))

    for path, handler in (("/health", health), ("/ready", ready), ("/metrics", metrics)):
        app.router.add_get(path, handler)
