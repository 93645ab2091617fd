"""Granian's RSGI 1.x callables as this project sees them (source: Granian's RSGI specification).

Header names are lower case; a header whose value is not visible ASCII reads as absent.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from typing import Protocol

AnswerHeaders = list[tuple[str, str]]


class RequestHeaders(Protocol):
    """A multi-map; `get` gives the first value."""

    def get(self, key: str, default: None = None) -> str | None: ...
    def get_all(self, key: str) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...


class Scope(Protocol):
    """One request line and its headers. `client` is `address:port`; `path` is decoded, the query is not;
    `authority` is what HTTP/2 has instead of the header Host.
    """

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None
    headers: RequestHeaders


class Reading(Awaitable[bytes], Protocol):
    """A body on its way, read by Granian's I/O thread: a future that any thread may give its callback."""

    def add_done_callback(self, call: "Callable[[Reading], object]", context: Context) -> None: ...
    def result(self) -> bytes: ...
    def cancel(self) -> object: ...


class Transport(Protocol):
    """The body and the answer. Calling it gives the whole body; iterating gives it in chunks."""

    def __call__(self) -> Reading: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def response_bytes(self, status: int, headers: AnswerHeaders, body: bytes) -> None: ...
    def response_empty(self, status: int, headers: AnswerHeaders) -> None: ...


class Exchange(Protocol):
    """One request, as Granian gives it to its scheduler."""

    scope: Scope
    proto: Transport


class WithoutBody:
    """A transport whose answers have no body, for HEAD: in HTTP/2, one with a body breaks the stream."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def __call__(self) -> Reading:
        return self._inner()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._inner)

    def response_bytes(self, status: int, headers: AnswerHeaders, _body: bytes) -> None:
        self._inner.response_empty(status, headers)

    def response_empty(self, status: int, headers: AnswerHeaders) -> None:
        self._inner.response_empty(status, headers)


def peer_address(scope: Scope) -> str | None:
    """The address at the other end of the connection; None on a Unix socket."""
    host = scope.client.rpartition(":")[0]
    return (host[1:-1] if host.startswith("[") else host) or None
