"""The way to the framework: one RSGI request as one ASGI call.

Granian serves one interface per server. Ingest wants RSGI (a sixth more requests per second, ARCHITECTURE.md,
Decisions), BlackSheep speaks ASGI; its routes are not hot, so their requests and answers are passed on whole.
Event-loop thread.
"""

from typing import Any
from urllib.parse import quote

from blacksheep import Application

from server.routes.rsgi import Scope, Transport


async def call_framework(app: Application, scope: Scope, transport: Transport) -> None:
    """Let `app` answer. No framework route takes a body, so none is read (nor waited for)."""
    status = 500
    headers: list[tuple[str, str]] = []
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
            ]
        else:
            parts.append(message.get("body", b""))

    await app(_asgi_scope(scope), receive, send)
    transport.response_bytes(status, headers, b"".join(parts))


def _asgi_scope(scope: Scope) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": scope.method,
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
