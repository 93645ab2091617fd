"""The entry: ingest paths go to the lane, admin and operations routes to BlackSheep, the rest is
refused here.

BlackSheep's own 404, 405 and OPTIONS answers and its case-insensitive paths do not fit the contract, so the
entry decides what is known: a path of the ingest table is the lane's whatever the method; a framework path is
routed only in its exact case.
"""

from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from server.clock import SystemClock
from server.routes import batch, classic, gateway, jitsu, pixel, sdk_metrics
from server.routes.answers import Answers
from server.routes.body import Bodies, declared_length
from server.routes.bootstrap import Documents
from server.routes.family import Family, IngestRoute
from server.routes.framework import Framework
from server.routes.lane import PLAIN_BYTES_MAX, IngestLane
from server.routes.refusal import Refused
from server.routes.rsgi import Exchange, Scope, Transport, WithoutBody
from server.routes.sdk_metrics import SdkMetrics

_FRAMEWORK_PATHS: Final = (
    "/health",
    "/ready",
    "/metrics",
    "/api/v1/audit",
    "/api/v1/events",
    "/api/v1/links",
    "/api/v1/backup",
)
_FRAMEWORK_FOLDERS: Final = ("/api/v1/events/", "/api/v1/links/")
_MANAGEMENT_WORDS: Final = frozenset({"schema", "user", "workspace", "docs", "openapi.json"})
_INGEST_SEGMENTS: Final = frozenset({"v1", "s", "px"})


def ingest_routes() -> dict[str, IngestRoute]:
    """Every ingest path of the server that takes POST, but random ones (`classic.random_route`)."""
    return {**jitsu.routes(), **gateway.routes(), **batch.routes(), **classic.routes()}


class Entry:
    """The RSGI entry of the process. `posts` and `gets` answer what brings no event, `framework` what is not
    ingest.
    """

    def __init__(
        self,
        lane: IngestLane,
        documents: Documents,
        sdk_metrics: SdkMetrics,
        posts: Answers,
        gets: Answers,
        framework: Framework,
        bodies: Bodies,
        clock: SystemClock,
    ) -> None:
        self._clock = clock
        self._lane = lane
        self._documents = documents
        self._sdk_metrics = sdk_metrics
        self._posts = posts
        self._gets = gets
        self._framework = framework
        self._bodies = bodies
        self._routes = ingest_routes()
        self._pixels = pixel.routes()

    def begin(self, exchange: Exchange) -> bool:
        """Take a plain request: POST on a path of the table, its body of known and moderate length and not
        encoded. Its body is begun here, and the loop hears of it when that is there. False, with nothing
        done, for all others. On Granian's Python thread; raises nothing.
        """
        scope = exchange.scope
        route = self._routes.get(scope.path)
        if route is None or route.upload or scope.method != "POST":
            return False
        headers = scope.headers  # a copy each time
        declared = declared_length(headers)
        if not 0 <= declared <= PLAIN_BYTES_MAX or headers.get("content-encoding") is not None:
            return False
        transport = exchange.proto
        arrived = partial(self._lane.arrived, route, scope, headers, transport, declared)
        return self._bodies.begin(transport, declared, self._clock.monotonic_s(), arrived)

    def __rsgi__(self, scope: Scope, transport: Transport) -> Coroutine[Any, Any, None]:
        """The answer to one request, once it is awaited (a coroutine less per request than `async def`)."""
        route = self._routes.get(scope.path)
        if route is not None and scope.method == "POST":
            return self._lane.handle(route, scope, transport)
        return self._not_hot(route, scope, transport)

    async def _not_hot(self, route: IngestRoute | None, scope: Scope, transport: Transport) -> None:
        """All but POST on a path of the table. `/api/v1/events` is of two kinds: GET there reads events."""
        path, method, origin = scope.path, scope.method, scope.headers.get("origin")
        if method == "HEAD":
            transport = WithoutBody(transport)
        if _is_framework(path) and method != "OPTIONS" and (route is None or method == "GET"):
            return await self._framework.handle(scope, transport)
        route = route or classic.random_route(path)
        if route is not None and method == "POST":
            return await self._lane.handle(route, scope, transport)
        image = None if route is not None else self._pixels.get(path) or pixel.unknown_route(path)
        if image is not None and method == "GET":
            return await self._lane.handle(image, scope, transport)
        await self._bodies.discard(transport, declared_length(scope.headers))
        if route is not None:
            return self._posts.other_method(route.family, method, origin, transport)
        if image is not None:
            return self._gets.other_method(image.family, method, origin, transport)
        if (document := self._documents.handler(path)) is not None:
            return await document(scope, transport)
        if path in sdk_metrics.PATHS:
            return await self._sdk_metrics.handle(scope, transport)
        return self._unknown(path, method, origin, transport)

    def _unknown(self, path: str, method: str, origin: str | None, transport: Transport) -> None:
        """JSON for a path that nobody knows; below /api/s/ it is an unknown event type."""
        family = _family_of(path)
        if method == "OPTIONS":
            return self._posts.other_method(family, method, origin, transport)
        if family is jitsu.FAMILY and method == "POST":
            refused = Refused("unknown_type", f"unknown event type: {path.rsplit('/', 1)[-1][:64]}")
        else:
            refused = Refused("not_found", f"no route {path[:200]}")
        return self._posts.refuse(family, refused, origin, transport)


def _is_framework(path: str) -> bool:
    return path in _FRAMEWORK_PATHS or path.startswith(_FRAMEWORK_FOLDERS) or _is_management(path)


def _is_management(path: str) -> bool:
    """Whether a path is one of the management API, known or not."""
    parts = path.split("/")
    if len(parts) < 3 or parts[1] != "api" or parts[2] in _INGEST_SEGMENTS:
        return False
    return parts[2] in _MANAGEMENT_WORDS or parts[3:4] == ["config"]


def _family_of(path: str) -> Family:
    if path.startswith(jitsu.PREFIXES):
        return jitsu.FAMILY
    return classic.FAMILY if path.startswith(classic.PREFIXES) else gateway.FAMILY
