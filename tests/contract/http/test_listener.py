"""Which requests become tasks, that one which is lost is answered all the same, and that a cut one leaves
nothing behind.
"""

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from server.counters import IngestCounters
from server.listener import spawning
from server.logs import GRANIAN_CONFIG
from server.routes.body import Bodies, BodyLimits
from tests.running import Answer, Penstock, eventually, free_port


class _Target:
    """Answers a path with its kind: what `begin` takes (`/plain…`), and what becomes a task."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.listening = asyncio.Event()

    def begin(self, exchange: Any) -> bool:
        path = exchange.scope.path
        if path == "/fails":
            raise KeyError("the inside")
        if not path.startswith("/plain"):
            return False

        def arrived(reading: Any) -> None:
            with contextlib.suppress(RuntimeError):
                self.tasks.append(asyncio.current_task())
            if path == "/plain":
                exchange.proto.response_bytes(200, [], reading.result())

        exchange.proto().add_done_callback(arrived)
        return True

    async def __rsgi__(self, _scope: Any, transport: Any) -> None:
        self.tasks.append(asyncio.current_task())
        transport.response_bytes(200, [], await transport())


@contextlib.asynccontextmanager
async def serving(target: _Target) -> AsyncIterator[int]:
    port = free_port()
    interface, logs = Interfaces.RSGI, GRANIAN_CONFIG
    server = Server(target, port=port, interface=interface, websockets=False, log_dictconfig=logs)
    listener = asyncio.create_task(server.serve(spawning(target.begin, target.listening.set)))
    try:
        yield port
    finally:
        server.stop()
        await listener


async def _post(port: int, path: str) -> Answer:
    client = Penstock(Path(), {"server": {"port": port}})

    def ask() -> Answer | None:
        with contextlib.suppress(ConnectionRefusedError):
            return client.request("POST", path, b"hi")
        return None

    answer: Answer = await asyncio.to_thread(eventually, ask, "an answer")
    return answer


async def test_what_begin_takes_is_no_task() -> None:
    target = _Target()
    async with serving(target) as port:
        for path in ("/plain", "/other"):
            assert (await _post(port, path)).body == b"hi"
    plain, other = target.tasks
    assert (plain, other is not None) == (None, True)


async def test_what_begin_fails_at_becomes_a_task(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(_Target()) as port:
        for _ in range(3):
            assert (await _post(port, "/fails")).body == b"hi"
    assert "the inside" in caplog.text


async def test_what_nobody_answers_is_a_500_and_no_hang() -> None:
    async with serving(_Target()) as port:
        assert (await _post(port, "/plain/lost")).status == 500


class _Begun(_Target):
    """Begins bodies as the server does, and knows what waits for each."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = Bodies(BodyLimits(1_000, 100_000, 10.0), IngestCounters())
        self.waiting: list[weakref.ref[Any]] = []
        self.ended: list[object] = []

    def begin(self, exchange: Any) -> bool:
        def arrived(reading: Any) -> None:
            self.ended.append(self.bodies.came(reading))
            exchange.proto.response_bytes(400, [], b"")

        self.waiting.append(weakref.ref(arrived))
        return self.bodies.begin(exchange.proto, 100, 0.0, arrived)


async def test_a_body_that_is_cut_leaves_nothing_in_memory() -> None:
    target = _Begun()
    async with serving(target) as port:
        await _post(port, "/plain")
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.to_thread(eventually, lambda: len(target.ended) == 4, "every body has ended")

        def left() -> bool:
            gc.collect()
            return not any(one() for one in target.waiting)

        await asyncio.to_thread(eventually, left, "nothing waits any more", 5)
