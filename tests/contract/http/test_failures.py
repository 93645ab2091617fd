"""Whatever goes wrong inside a route, the answer is JSON, and the log says what it was."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from blacksheep import Application, Request, Response, StreamedContent
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
    """The bridge alone, as Granian's target."""

    def __init__(self, app: Application) -> None:
        bodies = Bodies(body_limits(Config()), IngestCounters())
        self._app = app
        self.framework = Framework(self._application, bodies, SystemClock())

    async def _application(self) -> Application:
        return self._app

    def __rsgi__(self, scope: Any, transport: Any) -> Any:
        return self.framework.handle(scope, transport)


@contextlib.asynccontextmanager
async def serving(app: Application) -> AsyncIterator[int]:
    port = free_port()
    await app.start()
    interface, logs = Interfaces.RSGI, GRANIAN_CONFIG
    server = Server(Entry(app), port=port, interface=interface, websockets=False, log_dictconfig=logs)
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
    async with serving(app) as port:
        client = Penstock(Path(), {"server": {"port": port}})

        def ask() -> Answer | None:
            with contextlib.suppress(OSError):
                return client.request("GET", "/api/v1/audit?token=hush", headers=headers)
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
