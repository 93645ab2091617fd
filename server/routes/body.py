"""Reading a request body: bounded before it is read, in time, and inflated.

Bytes in flight are reserved from the declared length before the first byte is read, so that many large
requests at once are refused instead of filling memory. Event-loop thread, but for `begin`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final

from granian._granian import RSGIProtocolClosed as ProtocolClosed

from server.counters import IngestCounters
from server.ingest import Refusal, inflate
from server.routes.refusal import Refused
from server.routes.rsgi import Reading, RequestHeaders, Transport
from server.routes.upload import uploaded_file

# Small bodies are inflated on the loop, as far as they stay small: 10 KB may be 10 MB, which take 20 to 60
# ms. The rest goes to a thread.
_INFLATE_INLINE_BYTES_MAX: Final = 64 * 1024
_INFLATED_INLINE_BYTES_MAX: Final = 256 * 1024
# Reserved for a body of unknown length before it is read; the rest as it comes.
_UNKNOWN_BYTES: Final = 64 * 1024
# What a thread inflates is counted only once it is there, so this bounds the memory beyond the count.
_THREADS_MAX: Final = 4
_CONTEXT: Final = Context()  # one for all: without it, each call is given a copy of its own
_DISCARD_BYTES_MAX: Final = 64 * 1024 * 1024
_OVERLOADED: Final = Refusal("overloaded", "too many bytes in flight; try again")
_TOO_SLOW: Final = Refusal("body_timeout", "the body did not arrive in time")
_ENCODED: Final = Refusal("unsupported_encoding", "Content-Encoding must be gzip or identity")
# Mostly there is nobody left to answer; but a client may have closed its half only.
_CUT_SHORT: Final = Refusal("body_timeout", "the connection ended before the body was complete")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`body_bytes_max` counts after decompression; `in_flight_bytes_max` is for the whole process; a body
    must be complete within `timeout_s`.
    """

    body_bytes_max: int
    in_flight_bytes_max: int
    timeout_s: float


class Bodies:
    """Reads bodies, and knows which reads are under way. A timer per request would cost as much as its
    decoding, so `expire` is called by the process's tick instead.
    """

    def __init__(self, limits: BodyLimits, counters: IngestCounters) -> None:
        self._limits = limits
        self._counters = counters
        self._reading: dict[asyncio.Task[Any] | Reading, float] = {}
        self._threads = asyncio.Semaphore(_THREADS_MAX)

    def expire(self, now_s: float, timeout_s: float | None = None) -> None:
        """End the reads that take longer than the limit (or `timeout_s`); called a few times a second at
        least.
        """
        if timeout_s is None:
            timeout_s = self._limits.timeout_s
        # A copy is made in one go; a walk could meet what `begin` adds meanwhile.
        for reading, started_s in self._reading.copy().items():
            if now_s - started_s > timeout_s:
                del self._reading[reading]
                reading.cancel()

    def begin(
        self, transport: Transport, declared: int, now_s: float, then: Callable[[Reading], object]
    ) -> bool:
        """Start to read a body of `declared` bytes, from one thread that is not the loop's; `then` is called
        on the loop when it ended, and asks `came`. False if there is no room for it now: nothing was begun.
        """
        if declared > self._limits.body_bytes_max or not self._has_room(declared):
            return False
        self._counters.begun_bytes += declared
        reading = transport()
        self._reading[reading] = now_s
        reading.add_done_callback(then, context=_CONTEXT)
        return True

    def came(self, reading: Reading) -> bytes | Refusal:
        """What became of a body that was begun. Its bytes are held until `release`."""
        self._reading.pop(reading, None)
        try:
            return reading.result()
        except ProtocolClosed as cut:
            # The reading keeps its error, and the traceback the reading: a cycle that the collector does not
            # see, for the reading is Granian's.
            cut.__traceback__ = None
            return _CUT_SHORT
        except asyncio.CancelledError:
            return _TOO_SLOW

    async def read(
        self, headers: RequestHeaders, transport: Transport, declared: int, now_s: float, upload: bool
    ) -> bytes | Refusal:
        """The body, inflated if its Content-Encoding says gzip; of an `upload`, the file in it. `declared` is
        its length as sent, reserved by `reserve` before; -1 if not known.
        """
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = now_s
        parts = _resumable(transport)
        try:
            body = await transport() if declared >= 0 else await self._chunks(parts)
        except ProtocolClosed:
            return _CUT_SHORT
        except asyncio.CancelledError:
            if task in self._reading:
                raise
            return _TOO_SLOW
        finally:
            self._reading.pop(task, None)
        if isinstance(body, Refusal):
            await self._swallow(parts)
            return body
        encoding = _encoding(headers)
        if encoding not in ("", "gzip"):
            return _ENCODED
        if upload:
            content_type = headers.get("content-type") or ""
            bytes_max = self._limits.body_bytes_max
            async with self._threads:
                return await asyncio.to_thread(uploaded_file, body, content_type, encoding, bytes_max)
        return await self._inflated(body) if encoding else body

    def reserve(self, declared: int) -> Refused | None:
        """Why a body of that length cannot be read now; None once its bytes are reserved. Give them back with
        `release`.
        """
        if declared > self._limits.body_bytes_max:
            return Refused("too_large", self._too_large().detail)
        return None if self._hold(reserved_bytes(declared)) else Refused("overloaded", _OVERLOADED.detail)

    def release(self, declared: int) -> None:
        """Give back what `reserve` or `begin` took."""
        self._counters.reserved_bytes -= reserved_bytes(declared)

    async def discard(self, transport: Transport, declared: int) -> None:
        """Take in a refused body, bounded in bytes and time.

        A client that is still sending when the connection closes sees a broken pipe instead of the refusal,
        and sends it all again.
        """
        if 0 != declared <= _DISCARD_BYTES_MAX:
            await self._swallow(transport)

    async def _swallow(self, rest: AsyncIterable[bytes]) -> None:
        left = _DISCARD_BYTES_MAX
        with contextlib.suppress(TimeoutError, ProtocolClosed):
            async with asyncio.timeout(self._limits.timeout_s):
                async for part in rest:
                    left -= len(part)
                    if left < 0:
                        return

    async def _chunks(self, chunks: AsyncIterable[bytes]) -> bytes | Refusal:
        """A body of unknown length; while it grows, so does what is reserved for it."""
        parts: list[bytes] = []
        size, reserved = 0, _UNKNOWN_BYTES
        try:
            async for part in chunks:
                parts.append(part)
                size += len(part)
                if size > self._limits.body_bytes_max:
                    return self._too_large()
                if size > reserved:
                    if not self._hold(size - reserved):
                        return _OVERLOADED
                    reserved = size
            return b"".join(parts)
        finally:
            self._counters.reserved_bytes -= reserved - _UNKNOWN_BYTES

    def _hold(self, size: int) -> bool:
        """Count so many bytes as in flight, if there is room for them."""
        if not self._has_room(size):
            return False
        self._counters.reserved_bytes += size
        return True

    def _has_room(self, size: int) -> bool:
        return self._counters.in_flight_bytes + size <= self._limits.in_flight_bytes_max

    async def _inflated(self, body: bytes) -> bytes | Refusal:
        if len(body) <= _INFLATE_INLINE_BYTES_MAX:
            plain = inflate(body, min(_INFLATED_INLINE_BYTES_MAX, self._limits.body_bytes_max))
            if not isinstance(plain, Refusal) or plain.slug != "too_large":
                return plain
        async with self._threads:
            return await asyncio.to_thread(inflate, body, self._limits.body_bytes_max)

    def _too_large(self) -> Refusal:
        return Refusal("too_large", f"the body is larger than {self._limits.body_bytes_max} bytes")


async def _resumable(transport: Transport) -> AsyncIterator[bytes]:
    """The chunks of a body, for several loops one after the other: a transport takes one only."""
    async for part in transport:
        yield part


def reserved_bytes(declared: int) -> int:
    """What is reserved for a body of that length, -1 if it is not known."""
    return declared if declared >= 0 else _UNKNOWN_BYTES


def _encoding(headers: RequestHeaders) -> str:
    """What Content-Encoding names beside `identity`, in all its headers: nothing, `gzip` or another."""
    named = ",".join(headers.get_all("content-encoding")).lower().split(",")
    left = [name for name in map(str.strip, named) if name not in ("", "identity")]
    return "gzip" if left == ["x-gzip"] else ",".join(left)


def declared_length(headers: RequestHeaders) -> int:
    """Content-Length, -1 if there is none (a chunked body)."""
    value = headers.get("content-length")
    return int(value) if value is not None and value.isdigit() else -1
