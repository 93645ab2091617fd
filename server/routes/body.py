"""Reading a request body: bounded before it is read, in time, and inflated.

Bytes in flight are reserved from the declared length before the first byte is read, so that many large
requests at once are refused instead of filling memory. Event-loop thread only.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from server.ingest import Refusal, inflate
from server.metrics import IngestCounters
from server.routes.asgi import Receive

_INFLATE_INLINE_BYTES_MAX: Final = (
    64 * 1024
)  # larger ones are inflated in a thread: zlib takes ~10 ms a megabyte
_DISCARD_BYTES_MAX: Final = 64 * 1024 * 1024
_TOO_SLOW: Final = Refusal("bad_request", "the body did not arrive in time")


class ClientGoneError(Exception):
    """The client closed the connection before its body was complete; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`body_bytes_max` counts after decompression; `in_flight_bytes_max` is for the whole process; a body
    must be complete within `timeout_s`."""

    body_bytes_max: int
    in_flight_bytes_max: int
    timeout_s: float


class Body:
    """One request's body and its reservation. `release` must be called exactly once, when the request is
    answered.
    """

    __slots__ = ("_complete", "_counters", "_limits", "_reserved")

    def __init__(self, limits: BodyLimits, counters: IngestCounters) -> None:
        self._limits = limits
        self._counters = counters
        self._reserved = 0
        self._complete = False

    def release(self) -> None:
        """Give the reserved bytes back."""
        self._counters.in_flight_bytes -= self._reserved
        self._reserved = 0

    async def read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes | Refusal:
        """The body, inflated if its Content-Encoding says gzip. Raises ClientGoneError."""
        declared = _content_length(headers.get(b"content-length"))
        if declared > self._limits.body_bytes_max:
            self._complete = declared > _DISCARD_BYTES_MAX  # nobody waits for that much
            return self._too_large()
        if refusal := self._reserve(max(declared, 0)):
            return refusal
        message = await receive()
        body: bytes | Refusal = message.get("body", b"")
        if len(body) == declared:  # type: ignore[arg-type]
            self._complete = True
        else:
            body = await self._rest(message, declared, receive)
        encoding = headers.get(b"content-encoding")
        if encoding is None or isinstance(body, Refusal):
            return body
        return await self._decoded(body, encoding.strip().lower())

    async def discard(self, receive: Receive) -> None:
        """Take in what is left of a refused body, bounded in bytes and time.

        A client that is still sending when the connection closes sees a broken pipe instead of the refusal,
        and sends it all again.
        """
        left = _DISCARD_BYTES_MAX
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.timeout_s):
                while not self._complete and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    self._complete = message["type"] != "http.request" or not message.get("more_body")

    async def _rest(self, message: dict[str, object], declared: int, receive: Receive) -> bytes | Refusal:
        """The body that came in several messages, from its first one on."""
        parts: list[bytes] = []
        received = 0
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                while True:
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    part = message.get("body", b"")
                    assert isinstance(part, bytes)
                    parts.append(part)
                    received += len(part)
                    if received > self._limits.body_bytes_max:
                        return self._too_large()
                    if received > self._reserved and (refusal := self._reserve(received - self._reserved)):
                        return refusal
                    if received == declared or not message.get("more_body"):
                        self._complete = True
                        return b"".join(parts)
                    message = await receive()
        except TimeoutError:
            return _TOO_SLOW

    async def _decoded(self, body: bytes, encoding: bytes) -> bytes | Refusal:
        if encoding in (b"identity", b""):
            return body
        if encoding not in (b"gzip", b"x-gzip"):
            return Refusal("unsupported_encoding", "Content-Encoding must be gzip or identity")
        if len(body) <= _INFLATE_INLINE_BYTES_MAX:
            return inflate(body, self._limits.body_bytes_max)
        return await asyncio.to_thread(inflate, body, self._limits.body_bytes_max)

    def _reserve(self, size: int) -> Refusal | None:
        if self._counters.in_flight_bytes + size > self._limits.in_flight_bytes_max:
            return Refusal("overloaded", "too many bytes in flight; try again")
        self._counters.in_flight_bytes += size
        self._reserved += size
        return None

    def _too_large(self) -> Refusal:
        return Refusal("too_large", f"the body is larger than {self._limits.body_bytes_max} bytes")


def _content_length(value: bytes | None) -> int:
    """The declared length, -1 if there is none (a chunked body)."""
    return int(value) if value is not None and value.isdigit() else -1
