"""Whatever goes wrong inside a route, the answer is JSON, and the log says what it was."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blacksheep import Application, Request, Response, StreamedContent, TextContent
from blacksheep.exceptions import BadRequest, NotFound
from granian.constants import Interfaces
from granian.server.embed import Server

from server.clock import SystemClock
from server.counters import IngestCounters
from server.logs import GRANIAN_CONFIG
from server.routes.application import make_application
from server.routes.body import Bodies
from server.routes.framework import Framework
from server.settings import Config
from server.translation.ingest import body_limits
from tests.running import Answer, Penstock, eventually, free_port

ERRORS = {"refused": BadRequest("the inside"), "gone": NotFound(), "broken": KeyError("pw")}


class Entry:
    """The bridge alone, as Granian's target. `asked` once a request waits for the application; `there` lets
    it go on.
    """

    def __init__(self, app: Application | None) -> None:
        self.counters = IngestCounters()
        self._app = app
        self.asked, self.there = asyncio.Event(), asyncio.Event()
        self.there.set()
        bodies = Bodies(body_limits(Config()), self.counters)
        self.framework = Framework(self._application, bodies, SystemClock())

    async def _application(self) -> Application | None:
        self.asked.set()
        await self.there.wait()
        return self._app

    def __rsgi__(self, scope: Any, transport: Any) -> Any:
        return self.framework.handle(scope, transport)


@contextlib.asynccontextmanager
async def serving(entry: Entry) -> AsyncIterator[int]:
    port = free_port()
    interface, logs = Interfaces.RSGI, GRANIAN_CONFIG
    server = Server(entry, port=port, interface=interface, websockets=False, log_dictconfig=logs)
    listener = asyncio.create_task(server.serve())
    try:
        yield port
    finally:
        server.stop()
        await listener


def failing(error: Exception) -> Application:
    app = make_application()

    async def fail(_request: Request) -> Response:
        raise error

    app.router.add_get("/api/v1/audit", fail)
    return app


async def asked(app: Application, **headers: str) -> Answer:
    await app.start()
    async with serving(Entry(app)) as port:
        return await answer_of(port, "GET", b"", **headers)


async def answer_of(port: int, method: str, body: bytes, **headers: str) -> Answer:
    client = Penstock(Path(), {"server": {"port": port}})

    def ask() -> Answer | None:
        with contextlib.suppress(ConnectionRefusedError):
            return client.request(method, "/api/v1/audit?token=hush", body, headers=headers)
        return None

    answer: Answer = await asyncio.to_thread(eventually, ask, "an answer")
    return answer


@pytest.mark.parametrize(("name", "status"), [("refused", 400), ("gone", 404), ("broken", 500)])
async def test_an_exception_is_answered_as_json(name: str, status: int) -> None:
    answer = await asked(failing(ERRORS[name]))
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert set(answer.json) == {"message", "error"}
    assert "inside" not in answer.json["message"]


async def test_a_failure_is_in_the_log_with_its_request(caplog: pytest.LogCaptureFixture) -> None:
    answer = await asked(failing(ERRORS["broken"]), **{"X-Request-Id": "req-7"})
    assert answer.json["error"] == "internal"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "GET '/api/v1/audit' failed (request 'req-7')"
    assert record.exc_info is not None
    assert "hush" not in caplog.text


async def test_a_failure_while_an_answer_is_written_is_answered_too() -> None:
    app = make_application()

    async def parts() -> AsyncIterator[bytes]:
        yield b"{"
        raise KeyError("pw")

    async def half(_request: Request) -> Response:
        return Response(200, None, StreamedContent(b"application/json", parts))

    app.router.add_get("/api/v1/audit", half)
    assert (await asked(app)).json["error"] == "internal"


@pytest.mark.parametrize("ends", [False, True])
async def test_who_waits_for_the_application_holds_no_body(ends: bool) -> None:
    app = make_application()

    async def size(request: Request) -> Response:
        return Response(200, None, TextContent(str(len(await request.read() or b""))))

    app.router.add_put("/api/v1/audit", size)
    await app.start()
    entry = Entry(None if ends else app)
    entry.there.clear()
    async with serving(entry) as port:
        asking = asyncio.create_task(answer_of(port, "PUT", b"x" * 1_000_000))
        await asyncio.wait_for(entry.asked.wait(), 30)
        assert entry.counters.in_flight_bytes == 0
        entry.there.set()
        answer = await asking
    if ends:
        assert (answer.status, answer.json["error"]) == (503, "stopping")
    else:
        assert (answer.status, answer.body) == (200, b"1000000")
    assert entry.counters.in_flight_bytes == 0
