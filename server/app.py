"""The ASGI application: ingest paths go to the lane, admin and operations routes to BlackSheep, the rest is
refused here.

BlackSheep's own 404, 405 and OPTIONS answers and its case-insensitive paths do not fit the contract, so the
entry decides what is known: a path of the ingest table is the lane's whatever the method; a framework path is
routed only in its exact case.
"""

from typing import Final

from blacksheep import Application, Request, Response, Router

from server.routes import batch, gateway, jitsu
from server.routes.admin import problem_response
from server.routes.asgi import Receive, Scope, Send
from server.routes.family import IngestRoute
from server.routes.lane import IngestLane
from server.routes.refusal import Refused

_FRAMEWORK_PATHS: Final = ("/health", "/ready", "/metrics", "/api/v1/events")


def ingest_routes() -> dict[str, IngestRoute]:
    """Every ingest path of the server."""
    return {**jitsu.routes(), **gateway.routes(), **batch.routes()}


class PenstockApplication(Application):
    """`lane` answers the paths of `routes`; the other routes are registered on the router as usual."""

    def __init__(self, lane: IngestLane, routes: dict[str, IngestRoute]) -> None:
        super().__init__(router=Router(), show_error_details=False)
        self._lane = lane
        self._ingest_routes = routes
        self.router.fallback = _method_not_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        path = scope["path"]
        route = self._ingest_routes.get(path)
        if route is not None:
            return await self._lane.handle(route, scope, receive, send)
        if path.startswith(_FRAMEWORK_PATHS) and scope["method"] != "OPTIONS":
            await super().__call__(scope, receive, send)  # type: ignore[no-untyped-call]
            return None
        return await self._unknown(path, scope, send)

    async def _unknown(self, path: str, scope: Scope, send: Send) -> None:
        """JSON for a path that nobody knows; below /api/s/ it is an unknown event type."""
        origin = dict(scope["headers"]).get(b"origin")
        family = jitsu.FAMILY if path.startswith(jitsu.PREFIXES) else gateway.FAMILY
        if scope["method"] == "OPTIONS":
            return await self._lane.other_method(family, "OPTIONS", origin, send)
        if family is jitsu.FAMILY and scope["method"] == "POST":
            refused = Refused("unknown_type", f"unknown event type: {path.rsplit('/', 1)[-1][:64]}")
        else:
            refused = Refused("not_found", f"no route {path[:200]}")
        return await self._lane.refuse(family, refused, origin, send)


async def _method_not_allowed(request: Request) -> Response:
    """The framework's fallback: the prefix is known, so it is the method or the rest of the path that does
    not fit.
    """
    if request.method in ("GET", "HEAD"):
        return problem_response("not_found")
    return problem_response("method_not_allowed", f"this route takes GET, not {request.method}")
