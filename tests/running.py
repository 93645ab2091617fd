"""A real Penstock process for tests, and the client that talks to it.

The process is what a user runs (`python -m server.cli serve`). Waiting is polling with a bound: nothing here
sleeps for a fixed time.
"""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import asyncpg
import yaml

ADMIN_TOKEN = "test-admin-token"
SERVER_KEY = "site-s:ssecret"
BROWSER_KEY = "site-b:bsecret"
ORIGIN = "https://shop.example.com"
_POLL_S = 0.02


def eventually(
    condition: Callable[[], Any], what: str, timeout_s: float = 30.0, poll_s: float = _POLL_S
) -> Any:
    """The first true answer of `condition`; fails the test if there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}; last answer: {answer!r}")
        time.sleep(poll_s)


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def datasource(url: str) -> dict[str, object]:
    """A `datasource` block for a Postgres URL."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 5432,
        "db": parts.path.lstrip("/"),
        "username": unquote(parts.username or "postgres"),
        "password": unquote(parts.password or ""),
        "parameters": {"sslmode": "disable"},
    }


def configuration(
    port: int, data: Path, database: str | None, **sections: Mapping[str, object]
) -> dict[str, Any]:
    """The issue's example, small: one stream, one link if there is a database. `sections` are merged in."""
    conf: dict[str, Any] = {
        "server": {"host": "127.0.0.1", "port": port, "name": "test", "admin_token": ADMIN_TOKEN},
        "store": {"path": str(data), "free_bytes_min": 0},
        "delivery": {"flush_interval_s": 0.05, "backoff_max_s": 0.5, "statement_timeout_s": 10},
        "streams": {
            "site": {
                "name": "My site",
                "browser_keys": [BROWSER_KEY, "dk_live_abc123"],
                "server_keys": [SERVER_KEY],
                "origins": [ORIGIN],
            }
        },
        "destinations": {},
        "links": {},
    }
    if database is not None:
        conf["destinations"]["warehouse"] = {"type": "postgres", "datasource": datasource(database)}
        data_options = {"mode": "stream", "dataLayout": "segment-single-table", "primaryKey": "message_id"}
        conf["links"]["site-warehouse"] = {"from": "site", "to": "warehouse", "data": data_options}
    for section, values in sections.items():
        conf.setdefault(section, {}).update(values)
    return conf


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Penstock:
    """One server on one data directory; `start`, `kill` and `stop` may alternate."""

    folder: Path
    conf: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self.conf["server"]["port"])

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        path = self.folder / "penstock.yaml"
        path.write_text(yaml.safe_dump(self.conf))
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server.cli", "serve", "--conf", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment},
            )

    def start(self) -> Self:
        """Start the process and wait until it is ready."""
        self.spawn()
        eventually(self.is_ready, f"the server is ready: {self.folder}/server.log")
        return self

    def is_ready(self) -> bool:
        """Whether /ready says so; fails if the process has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log}")
        with contextlib.suppress(OSError):
            return self.request("GET", "/ready").status == 200
        return False

    def ended_within(self, seconds: float) -> bool:
        """Whether the process ends by itself in that time."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own. Raises OSError if the server is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"cut: {error!r}") from error
        finally:
            connection.close()

    def post(self, path: str, event: object, key: str = SERVER_KEY, **headers: str) -> Answer:
        """POST a JSON value with a write key."""
        return self.request("POST", path, json.dumps(event).encode(), {"X-Write-Key": key, **headers})

    def admin(self, path: str) -> Answer:
        """GET an admin endpoint."""
        return self.request("GET", path, headers={"X-Admin-Token": ADMIN_TOKEN})

    def metric(self, name: str, labels: str = "") -> float:
        """The sum of a metric's samples whose labels contain `labels`."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        found = [line for line in lines if line.startswith((name + "{", name + " ")) and labels in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def drained(self, timeout_s: float = 60.0) -> None:
        """Wait until no link has events waiting."""
        eventually(self._is_drained, "every event is delivered", timeout_s)

    def _is_drained(self) -> bool:
        return "penstock_link_backlog_events{" in self.request(
            "GET", "/metrics"
        ).body.decode() and not self.metric("penstock_link_backlog_events")


@contextlib.contextmanager
def running(server: Penstock) -> Iterator[Penstock]:
    """The server, started; it must stop in order, and is killed if the test fails."""
    try:
        yield server.start()
        assert server.stop() == 0
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def track(message_id: str, **properties: object) -> dict[str, object]:
    """A small track event."""
    return {
        "type": "track",
        "event": "Tested",
        "userId": "u1",
        "messageId": message_id,
        "properties": properties,
    }


class Sender:
    """Sends batches of events with given ids until each is answered 200, through cuts, 503 and restarts, as
    an SDK with an endless queue would. `acknowledged` is the outside record: ids whose request was answered
    200. `statuses` counts the answers, `cuts` the requests that got none.
    """

    def __init__(self, port: int, workers: int = 4, batch: int = 20) -> None:
        self._port = port
        self._workers = workers
        self._batch = batch
        self._finishing = False
        self.acknowledged: list[str] = []
        self.statuses: dict[int, int] = {}
        self.cuts = 0

    async def send(self, ids: Iterable[str]) -> None:
        """Returns when every id was acknowledged, or, after `finish`, every id that was taken up."""
        queue = iter(ids)
        await asyncio.gather(*(self._work(queue) for _ in range(self._workers)))

    def finish(self) -> None:
        """Take up no more ids: ends a `send` of endless ones."""
        self._finishing = True

    async def _work(self, queue: Iterator[str]) -> None:
        connection = _Connection(self._port)
        try:
            while not self._finishing and (batch := list(islice(queue, self._batch))):
                await self._insist(connection, batch)
                self.acknowledged += batch
        finally:
            connection.cut()

    async def _insist(self, connection: "_Connection", batch: list[str]) -> None:
        body = json.dumps({"batch": [track(message_id, text="x" * 300) for message_id in batch]}).encode()
        while True:
            try:
                status = await asyncio.wait_for(connection.post(body), 20)
            except (OSError, EOFError, TimeoutError):
                self.cuts += 1
                connection.cut()
                await asyncio.sleep(_POLL_S)
                continue
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == 200:
                return
            assert status in (429, 503), f"an answer that loses events: {status}"
            await asyncio.sleep(_POLL_S)


class _Connection:
    """A keep-alive connection of a sender; opened again after `cut`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> int:
        """POST a batch; the status. Raises OSError or EOFError if there was no whole answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = (
            f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nX-Write-Key: {SERVER_KEY}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r")[0])
        await reader.readexactly(length)
        return int(answer[9:12])

    def cut(self) -> None:
        """Let go of the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def endless(prefix: str) -> Iterator[str]:
    """Ids without end; for `Sender.send`, ended by `finish`."""
    return (f"{prefix}{number}" for number in count())


def rows(url: str, sql: str, *arguments: object) -> list[Any]:
    """Run one query; the records."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    return asyncio.run(run())


_JUST_MADE = "to_jsonb(events) ->> 'message_id'"
"""As the column, also while the table is there without it; null then, also of rows that never get one."""


def row_of(url: str, message_id: str) -> asyncpg.Record:
    """The one row of an event in the table `events`, once it is there."""

    def look() -> list[Any] | None:
        if not rows(url, "SELECT 1 FROM information_schema.tables WHERE table_name = 'events'"):
            return None
        return rows(url, f"SELECT * FROM events WHERE {_JUST_MADE} = $1", message_id)

    found = eventually(look, f"a row for {message_id}")
    assert len(found) == 1
    return found[0]


def delivered(url: str) -> list[str]:
    """messageIds in the table `events`, one for each row."""
    sql = "SELECT column_name FROM information_schema.columns WHERE table_name = 'events'"
    columns = [record["column_name"] for record in rows(url, sql)]
    if not columns:
        return []
    message_id = "message_id" if "message_id" in columns else _JUST_MADE
    return [record[0] for record in rows(url, f"SELECT {message_id} FROM events")]
