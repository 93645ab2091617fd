"""Health, readiness and metrics: for supervisors and scrapers. No secrets, no payloads."""

import asyncio
from collections.abc import Callable, Iterable

from blacksheep import Application, Content, Request, Response

from server.clock import SystemClock
from server.health import Heartbeats
from server.metrics import Sample, exposition
from server.routes.admin import AdminAccess
from server.routes.family import json_bytes


class Operations:
    """`unready()` says why events cannot be taken, None if they can; `sources` are read when /metrics is
    asked for.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        unready: Callable[[], str | None],
        sources: Iterable[Callable[[], Iterable[Sample]]],
        access: AdminAccess,
        clock: SystemClock,
    ) -> None:
        self._heartbeats = heartbeats
        self._unready = unready
        self._sources = tuple(sources)
        self._access = access
        self._clock = clock

    async def health(self, _request: Request) -> Response:
        """200 while every loop of the process reports in time."""
        late = self._heartbeats.late(self._clock.monotonic_s())
        if late:
            return _json(503, {"status": "fail", "output": "loops that do not report", "late_s": late})
        return _json(200, {"status": "pass"})

    async def ready(self, _request: Request) -> Response:
        """200 while events can be taken; else 503 and the reason."""
        reason = self._unready()
        if reason is not None:
            return _json(503, {"status": "fail", "output": reason})
        return _json(200, {"status": "pass"})

    async def metrics(self, request: Request) -> Response:
        """The Prometheus exposition; from loopback, or with the admin token."""
        if not self._access.is_loopback(request) and (refused := self._access.refusal(request)):
            return refused
        body, content_type = await asyncio.to_thread(exposition, self._sources)
        return Response(200, None, Content(content_type.encode(), body))

    def register(self, app: Application) -> None:
        """Add the routes."""
        for path, handler in (("/health", self.health), ("/ready", self.ready), ("/metrics", self.metrics)):
            app.router.add_get(path, handler)
            app.router.add_head(path, handler)


def _json(status: int, body: dict[str, object]) -> Response:
    return Response(status, None, Content(b"application/json", json_bytes(body)))
