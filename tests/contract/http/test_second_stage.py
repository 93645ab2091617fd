"""Between the listener and delivery: events are taken, other requests wait, and nothing goes on without
delivery.

A module in the place of asyncpg holds the loading until the test says how it goes on.
"""

import contextlib
import http.client
import json
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.running import (
    ADMIN_TOKEN,
    Penstock,
    configuration,
    eventually,
    free_port,
    rows,
    running,
    track,
)

_HELD = """
import importlib, sys
open({begun!r}, "wb").close()
fault = open({gate!r}).read()  # until the test has opened and closed it
if fault:
    raise ImportError(fault)
sys.path.remove({folder!r})
del sys.modules["asyncpg"]
sys.modules["asyncpg"] = importlib.import_module("asyncpg")
"""


class Held:
    """A server that listens and loads no further until `let_go`; with a fault, that is how loading ends."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self._begun, self._gate = folder / "begun", folder / "gate"
        os.mkfifo(self._gate)
        text = _HELD.format(begun=str(self._begun), gate=str(self._gate), folder=str(folder))
        (folder / "asyncpg.py").write_text(text)
        conf = configuration(free_port(), folder / "data", database)
        self.server = Penstock(folder, conf, {"PYTHONPATH": str(folder)})
        self.server.spawn()
        eventually(self._begun.exists, "the second stage is being loaded")

    def let_go(self, fault: str = "") -> None:
        self._gate.write_text(fault)


@contextlib.contextmanager
def held(folder: Path, database: str | None = None) -> Iterator[Held]:
    start = Held(folder, database)
    try:
        yield start
    finally:
        if start.server.process is not None and start.server.process.poll() is None:
            start.server.kill()


def asked(server: Penstock, path: str) -> http.client.HTTPConnection:
    """A connection on which a request has been sent."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path, headers={"X-Admin-Token": ADMIN_TOKEN})
    return connection


def answered(connection: http.client.HTTPConnection) -> tuple[int, Any]:
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_events_are_taken_and_other_requests_wait(tmp_path: Path, database: str) -> None:
    with held(tmp_path, database) as start:
        server = start.server
        paths = ("/health", "/ready", "/api/v1/links", "/api/default/config/stream")
        waiting = {path: asked(server, path) for path in paths}
        assert server.post("/v1/track", track("early")).status == 200
        assert select.select([connection.sock for connection in waiting.values()], [], [], 0)[0] == []
        start.let_go()
        answers = {path: answered(connection) for path, connection in waiting.items()}
        assert answers["/health"] == answers["/ready"] == (200, {"status": "pass"})
        status, links = answers["/api/v1/links"]
        assert (status, [link["id"] for link in links["links"]]) == (200, ["site-warehouse"])
        assert [stream["id"] for stream in answers["/api/default/config/stream"][1]["objects"]] == ["site"]
        server.drained()
        assert [row["message_id"] for row in rows(database, "SELECT message_id FROM events")] == ["early"]
        assert server.stop() == 0


def test_sigterm_before_delivery_is_loaded_stops_in_order(tmp_path: Path, database: str) -> None:
    with held(tmp_path, database) as start:
        server = start.server
        waiting = asked(server, "/health")
        assert server.post("/v1/track", track("early")).status == 200
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in server.log, "the signal is heard")
        start.let_go()
        assert answered(waiting) == (200, {"status": "pass"})
        assert server.stop() == 0
        assert not (tmp_path / "data" / "unclean").exists()
    (tmp_path / "asyncpg.py").unlink()
    with running(server):
        server.drained()
    assert [row["message_id"] for row in rows(database, "SELECT message_id FROM events")] == ["early"]


def test_a_server_that_cannot_deliver_ends(tmp_path: Path) -> None:
    with held(tmp_path) as start:
        server = start.server
        waiting = asked(server, "/health")
        assert server.post("/v1/track", track("early")).status == 200
        start.let_go("no such library")
        status, answer = answered(waiting)
        assert (status, answer["error"]) == (500, "internal")
        assert server.ended_within(30)
        assert server.process is not None
        assert server.process.returncode == 1
        assert "CRITICAL" in server.log
        assert "delivery could not be started; the process ends: no such library" in server.log
        assert not (tmp_path / "data" / "unclean").exists()
