"""A TCP proxy to stand between a client and Postgres, on the test's own event loop.

Faults it can make, per direction where that matters:
- refuse: new connections are closed at once (Postgres is away);
- cut: every open connection is reset now;
- cut after N bytes, or at the first appearance of a byte pattern (the pattern itself is not forwarded);
- stall: bytes are taken but not forwarded, until `resume`;
- delay: every chunk is forwarded after a fixed time.

Faults that trigger on traffic fire once, are set before the traffic starts, and `fired` is set when they do,
so a test waits for an event and never for a time. Everything else passes through unchanged, TLS included.
"""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

_CHUNK_BYTES = 64 * 1024


class Direction(Enum):
    """Whose bytes a fault watches."""

    TO_SERVER = "to-server"
    TO_CLIENT = "to-client"


@dataclass(slots=True)
class _Trigger:
    """Cuts or stalls once `bytes_left` have passed, or when `pattern` is seen."""

    stall: bool
    bytes_left: int | None = None
    pattern: bytes = b""
    gate: bytes = b""
    tail: bytes = b""
    gate_tail: bytes = b""

    def sent(self, data: bytes) -> bytes:
        """Takes what the client sends, until `gate` was seen; gives what follows it (b"" until then)."""
        if not self.gate:
            return data
        seen = self.gate_tail + data
        at = seen.find(self.gate)
        if at < 0:
            self.gate_tail = seen[-len(self.gate) + 1 :] if len(self.gate) > 1 else b""
            return b""
        gate, self.gate = self.gate, b""
        return seen[at + len(gate) :]

    def passes(self, data: bytes) -> bytes | None:
        """The part of `data` to forward if the trigger fires now, None if it does not."""
        if self.bytes_left is not None:
            if len(data) < self.bytes_left:
                self.bytes_left -= len(data)
                return None
            return data[: self.bytes_left]
        seen = self.tail + data
        at = seen.find(self.pattern)
        if at >= 0:
            return data[: max(0, at - len(self.tail))]
        self.tail = seen[-(len(self.pattern) - 1) :] if len(self.pattern) > 1 else b""
        return None


@dataclass(slots=True, eq=False)
class _Pipe:
    """One accepted connection and its other end."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    ended: int = 0

    def abort(self) -> None:
        """Reset both ends; what was not sent yet is gone."""
        for writer in (self.client, self.server):
            writer.transport.abort()

    def close(self) -> None:
        """Close both ends after what was forwarded."""
        for writer in (self.client, self.server):
            writer.close()


class FaultProxy:
    """`async with FaultProxy(host, port) as proxy:` listens on 127.0.0.1:`proxy.port` and forwards to
    host:port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pipes: set[_Pipe] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_s = 0.0
        self._triggers: dict[Direction, _Trigger] = {}
        self._server: asyncio.Server | None = None
        self.port = 0
        self.accepted = 0
        self.refused = asyncio.Event()
        self.fired = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [task for pipe in self._pipes for task in pipe.tasks]
        self.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def ended(self) -> None:
        """Waits until both ends have closed every connection that is open now."""
        await asyncio.gather(*(task for pipe in self._pipes for task in pipe.tasks))

    def refuse(self, *, on: bool = True) -> None:
        """Close new connections at once, or take them again. `refused` is set when one was turned away."""
        self._refusing = on
        self.refused.clear()

    def cut(self) -> None:
        """Reset every open connection, both ends."""
        for pipe in list(self._pipes):
            pipe.abort()

    def stall(self) -> None:
        """Forward nothing, in either direction, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, what was held back first."""
        self._flowing.set()

    def delay(self, seconds: float) -> None:
        """Hold every chunk for this long; 0 ends it."""
        self._delay_s = seconds

    def cut_after(self, bytes_count: int, direction: Direction) -> None:
        """Reset the connection once this many bytes went that way."""
        self._arm(direction, _Trigger(stall=False, bytes_left=bytes_count))

    def cut_at(self, pattern: bytes, direction: Direction, after: bytes = b"") -> None:
        """Reset the connection where `pattern` would go that way; it is not forwarded.

        With `after`, only what comes once the client has sent that counts.
        """
        self._arm(direction, _Trigger(stall=False, pattern=pattern, gate=after))

    def stall_after(self, bytes_count: int, direction: Direction) -> None:
        """As `stall`, once this many bytes went that way."""
        self._arm(direction, _Trigger(stall=True, bytes_left=bytes_count))

    def stall_at(self, pattern: bytes, direction: Direction, after: bytes = b"") -> None:
        """As `stall`, where `pattern` would go that way; `after` as in `cut_at`."""
        self._arm(direction, _Trigger(stall=True, pattern=pattern, gate=after))

    def _arm(self, direction: Direction, trigger: _Trigger) -> None:
        self._triggers[direction] = trigger
        self.fired.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            self.refused.set()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self.accepted += 1
        pipe = _Pipe(writer, server_writer)
        self._pipes.add(pipe)
        pipe.tasks = [
            asyncio.create_task(self._pump(pipe, reader, server_writer, Direction.TO_SERVER)),
            asyncio.create_task(self._pump(pipe, server_reader, writer, Direction.TO_CLIENT)),
        ]

    async def _pump(
        self, pipe: _Pipe, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        try:
            while data := await reader.read(_CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if not await self._forward(data, writer, direction):
                    pipe.abort()
                    return
            pipe.ended += 1
            if pipe.ended == 1 and writer.can_write_eof():
                writer.write_eof()  # the other direction goes on
            else:
                pipe.close()
                self._pipes.discard(pipe)
        except OSError:
            pipe.abort()
        finally:
            if writer.is_closing():
                self._pipes.discard(pipe)

    def _part_to_pass(self, data: bytes, direction: Direction) -> bytes | None:
        """What to forward of `data` if the trigger of that direction fires in it, else None."""
        behind = data
        if direction is Direction.TO_SERVER:
            other = self._triggers.get(Direction.TO_CLIENT)
            if other is not None:
                other.sent(data)
        trigger = self._triggers.get(direction)
        if trigger is None:
            return None
        if direction is Direction.TO_SERVER:
            behind = trigger.sent(data)
        if trigger.gate or not behind:
            return None
        part = trigger.passes(behind)
        return None if part is None else data[: len(data) - len(behind)] + part

    async def _forward(self, data: bytes, writer: asyncio.StreamWriter, direction: Direction) -> bool:
        """Writes `data` on, or does what the armed trigger says. False = the connection is gone."""
        trigger = self._triggers.get(direction)
        part = self._part_to_pass(data, direction)
        if trigger is not None and part is not None:
            del self._triggers[direction]
            writer.write(part)
            await writer.drain()
            data = data[len(part) :]
            if trigger.stall:
                self.stall()
            self.fired.set()
            if not trigger.stall:
                return False
        await self._flowing.wait()
        writer.write(data)
        await writer.drain()
        return True
