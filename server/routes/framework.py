"""The way to the framework: one RSGI request as one ASGI call.

Granian serves one interface per server. Ingest wants RSGI (a sixth more requests per second, ARCHITECTURE.md,
Decisions), BlackSheep speaks ASGI; its routes are not hot, so their requests and answers are passed on whole.
What goes wrong there is answered as every refusal is: JSON, and nothing of its inside. Event-loop thread.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from server.clock import SystemClock
from server.ingest import Refusal
from server.problems import PROBLEMS
from server.routes.body import Bodies, declared_length
from server.routes.family import json_bytes
from server.routes.refusal import Refused, defect
from server.routes.rsgi import Scope, Transport

BODY_BYTES_MAX: Final = 1024 * 1024
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_STOPPING: Final = Refused("stopping")

_Message = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
Asgi = Callable[[_Message, _Receive, _Send], Awaitable[None]]
"""An ASGI application."""


class Framework:
    """The application, and the bodies of its requests: at most `BODY_BYTES_MAX`, whole and in time.
    `application()` waits until it is there, for the server listens before (server/second_stage.py), and
    without the body: who waits costs next to nothing. It is None once the run ends before that.
    """

    def __init__(
        self, application: Callable[[], Awaitable[Asgi | None]], bodies: Bodies, clock: SystemClock
    ) -> None:
        self._application = application
        self._bodies = bodies
        self._clock = clock

    async def handle(self, scope: Scope, transport: Transport) -> None:
        """Let the application answer, once the body is here. Of other methods none is read."""
        try:
            await self._handle(scope, transport)
        except Exception as error:  # whatever it is, the client gets an answer
            id_ = scope.headers.get("x-request-id")
            _refuse(defect(scope.method, scope.path, id_, error), transport)

    async def _handle(self, scope: Scope, transport: Transport) -> None:
        application = await self._application()
        if application is None:
            await self._bodies.discard(transport, declared_length(scope.headers))
            return _refuse(_STOPPING, transport)
        if scope.method not in _WITH_BODY:
            return await _call(application, scope, transport, b"")
        declared = declared_length(scope.headers)
        if (refused := self._bodies.reserve(declared)) is not None:
            await self._bodies.discard(transport, declared)
            return _refuse(refused, transport)
        try:
            now_s = self._clock.monotonic_s()
            body = await self._bodies.read(scope.headers, transport, declared, now_s, upload=False)
        finally:
            self._bodies.release(declared)
        if isinstance(body, Refusal):
            return _refuse(Refused(body.slug, body.detail), transport)
        return await _call(application, scope, transport, body)


def _refuse(refused: Refused, transport: Transport) -> None:
    problem = PROBLEMS[refused.slug]
    said: dict[str, object] = {"message": refused.detail or problem.text, "error": problem.slug}
    headers = [("content-type", "application/json"), *refused.all_headers()]
    transport.response_bytes(problem.status, headers, json_bytes(said))


async def _call(app: Asgi, scope: Scope, transport: Transport, body: bytes) -> None:
    status = 500
    headers: list[tuple[str, str]] = []
    parts: list[bytes] = []

    async def receive() -> _Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: _Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            ]
        else:
            parts.append(message.get("body", b""))

    await app(_asgi_scope(scope), receive, send)
    return transport.response_bytes(status, headers, b"".join(parts))


def _asgi_scope(scope: Scope) -> _Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": "GET" if scope.method == "HEAD" else scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": quote(scope.path).encode(),
        "query_string": scope.query_string.encode(),
        "root_path": "",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in scope.headers.items()
        ],
        "client": _address(scope.client),
        "server": _address(scope.server),
    }


def _address(text: str) -> tuple[str, int]:
    """`host:port`, where an IPv6 host may be in brackets."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else 0
