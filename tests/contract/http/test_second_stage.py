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
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

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
import asyncio, importlib, sys
open({begun!r}, "wb").close()
fault = open({gate!r}).read()  # until the test has opened and closed it
if fault:
    raise asyncio.CancelledError if fault == "cancelled" else ImportError(fault)
sys.path.remove({folder!r})
del sys.modules["asyncpg"]
sys.modules["asyncpg"] = importlib.import_module("asyncpg")
"""


class Held:
    """A server that listens and loads no further until `let_go`; with a fault, that is how loading ends."""

    def __init__(self, folder: Path, database: str | None, data: dict[str, str]) -> None:
        self._begun, self._gate = folder / "begun", folder / "gate"
        os.mkfifo(self._gate)
        text = _HELD.format(begun=str(self._begun), gate=str(self._gate), folder=str(folder))
        (folder / "asyncpg.py").write_text(text)
        conf = configuration(free_port(), folder / "data", database)
        conf["links"].get("site-warehouse", {"data": {}})["data"].update(data)
        self.server = Penstock(folder, conf, {"PYTHONPATH": str(folder)})

    def start(self) -> None:
        self.server.spawn()
        eventually(self._begun.exists, "the second stage is being loaded")

    def let_go(self, fault: str = "") -> None:
        """Fails if nobody waits for it any more."""
        gate: int = eventually(self._opened, "the loading waits")
        with open(gate, "w") as file:
            file.write(fault)

    def _opened(self) -> int | None:
        with contextlib.suppress(OSError):  # ENXIO: nobody reads yet
            return os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK)
        return None


@contextlib.contextmanager
def held(folder: Path, database: str | None = None, **data: str) -> Iterator[Held]:
    """`data`: more options of its link."""
    start = Held(folder, database, data)
    try:
        start.start()
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
        status, answer = answered(waiting)
        assert (status, answer["error"]) == (503, "stopping")
        assert server.stop() == 0
        assert not (tmp_path / "data" / "unclean").exists()
    (tmp_path / "asyncpg.py").unlink()
    with running(server):
        server.drained()
    assert [row["message_id"] for row in rows(database, "SELECT message_id FROM events")] == ["early"]


@pytest.mark.parametrize("fault", ["no such library", "cancelled"])
def test_a_server_that_cannot_deliver_ends(tmp_path: Path, fault: str) -> None:
    with held(tmp_path) as start:
        server = start.server
        waiting = asked(server, "/health")
        assert server.post("/v1/track", track("early")).status == 200
        start.let_go(fault)
        status, answer = answered(waiting)
        assert (status, answer["error"]) == (503, "stopping")
        assert server.ended_within(30)
        assert server.process is not None
        assert server.process.returncode == 1
        assert server.log.count("CRITICAL") == 1
        assert server.log.count("Traceback") <= 1
        assert "delivery could not be started; the process ends: " in server.log
        assert fault in server.log
        assert not (tmp_path / "data" / "unclean").exists()


def test_a_start_that_fails_while_the_store_is_opened_closes_it(tmp_path: Path) -> None:
    (tmp_path / "granian.py").write_text("raise ImportError('no such library')")
    conf = configuration(free_port(), tmp_path / "data", None)
    server = Penstock(tmp_path, conf, {"PYTHONPATH": str(tmp_path)})
    server.spawn()
    assert server.ended_within(30)
    assert server.process is not None
    assert server.process.returncode == 1
    assert "no such library" in server.log
    assert (tmp_path / "data" / "store.json").exists()
    assert not (tmp_path / "data" / "unclean").exists()


def test_where_a_link_begins_now_is_known_before_the_first_event(tmp_path: Path, database: str) -> None:
    with held(tmp_path, database, startFrom="now") as start:
        server = start.server
        with pytest.raises(OSError, match="refused"):
            server.post("/v1/track", track("too early"))
        start.let_go()
        eventually(server.is_ready, "the server is ready")
        server.kill()  # nothing was sent yet: where the link begins is on disk all the same
    (tmp_path / "asyncpg.py").unlink()
    server.spawn()
    try:
        eventually(partial(_taken, server, "first"), "the first event is taken", poll_s=0.002)
        server.drained()
        assert [row["message_id"] for row in rows(database, "SELECT message_id FROM events")] == ["first"]
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.mark.parametrize(("fault", "status"), [("", 0), ("no such library", 1)])
def test_what_ends_before_a_link_has_begun_takes_no_event(
    tmp_path: Path, database: str, fault: str, status: int
) -> None:
    with held(tmp_path, database, startFrom="now") as start:
        server = start.server
        assert server.process is not None
        if not fault:
            server.process.send_signal(signal.SIGTERM)
        start.let_go(fault)
        assert server.ended_within(30)
        assert server.process.returncode == status
        assert "taking events" not in server.log


def _taken(server: Penstock, message_id: str) -> bool:
    try:
        return server.post("/v1/track", track(message_id)).status == 200
    except OSError:
        return False


_COLLECTOR = """
import asyncio, gc, os, signal, sys, urllib.request
from pathlib import Path
from server.commands.serve import serve
from server.settings import load

async def look():
    url = f"http://127.0.0.1:{config.server.port}/health"
    while True:
        try:
            await asyncio.to_thread(urllib.request.urlopen, url)
            break
        except OSError:
            await asyncio.sleep(0.02)
    print(gc.isenabled(), *gc.get_threshold(), gc.get_freeze_count() > 10_000)
    os.kill(os.getpid(), signal.SIGTERM)

config = load(Path(sys.argv[1]), {}, {})
sys.exit(serve(config, look))
"""


def test_the_collector_is_on_again_and_rare(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text(yaml.safe_dump(configuration(free_port(), tmp_path / "data", None)))
    command = [sys.executable, "-c", _COLLECTOR, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True 20000 50 100 True\n"
