"""The entry: ingest paths go to the lane, admin and operations routes to BlackSheep, the rest is
refused here.

BlackSheep's own 404, 405 and OPTIONS answers and its case-insensitive paths do not fit the contract, so the
entry decides what is known: a path of the ingest table is the lane's whatever the method; a framework path is
routed only in its exact case.
"""

from collections.abc import Coroutine
from typing import Any, Final

from blacksheep import Application, Request, Response, Router

from server.routes import batch, gateway, jitsu
from server.routes.admin import problem_response
from server.routes.family import IngestRoute
from server.routes.framework import call_framework
from server.routes.lane import IngestLane
from server.routes.refusal import Refused
from server.routes.rsgi import Scope, Transport

_FRAMEWORK_PATHS: Final = ("/health", "/ready", "/metrics", "/api/v1/events", "/api/v1/links")


def ingest_routes() -> dict[str, IngestRoute]:
    """Every ingest path of the server."""
    return {**jitsu.routes(), **gateway.routes(), **batch.routes()}


class Entry:
    """The RSGI entry of the process. `framework` answers what is not ingest."""

    def __init__(self, lane: IngestLane, routes: dict[str, IngestRoute], framework: Application) -> None:
        self._lane = lane
        self._routes = routes
        self._framework = framework

    def __rsgi__(self, scope: Scope, transport: Transport) -> Coroutine[Any, Any, None]:
        """The answer to one request, once it is awaited (a coroutine less per request than `async def`)."""
        path = scope.path
        route = self._routes.get(path)
        if route is not None:
            return self._lane.handle(route, scope, transport)
        if path.startswith(_FRAMEWORK_PATHS) and scope.method != "OPTIONS":
            return call_framework(self._framework, scope, transport)
        return self._unknown(path, scope, transport)

    async def _unknown(self, path: str, scope: Scope, transport: Transport) -> None:
        """JSON for a path that nobody knows; below /api/s/ it is an unknown event type."""
        origin = scope.headers.get("origin")
        family = jitsu.FAMILY if path.startswith(jitsu.PREFIXES) else gateway.FAMILY
        if scope.method == "OPTIONS":
            return self._lane.other_method(family, "OPTIONS", origin, transport)
        if family is jitsu.FAMILY and scope.method == "POST":
            refused = Refused("unknown_type", f"unknown event type: {path.rsplit('/', 1)[-1][:64]}")
        else:
            refused = Refused("not_found", f"no route {path[:200]}")
        return self._lane.refuse(family, refused, origin, transport)


def make_framework() -> Application:
    """The BlackSheep application for routes that are not hot. Not the library's shared default router."""
    app = Application(router=Router(), show_error_details=False)
    app.router.fallback = _method_not_allowed
    return app


async def _method_not_allowed(request: Request) -> Response:
    """The framework's fallback: the prefix is known, so it is the method or the rest of the path that does
    not fit.
    """
    if request.method in ("GET", "HEAD"):
        return problem_response("not_found")
    return problem_response("method_not_allowed", f"this route takes GET, not {request.method}")
