"""The first minutes of a newcomer: `penstock run`, the printed curl and SQL lines, Ctrl-C, and once more."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

PROGRAM = (sys.executable, "-m", "server.cli")
ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60


class Session:
    """One `penstock run` in a folder with a space in its name."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK")}
        self.environ = environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [*PROGRAM, "run", "--port", str(port)],
            cwd=folder,
            env=self.environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.lines: Queue[str] = Queue()
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)
        self.lines.put("")

    def _read_errors(self) -> None:
        self.errors += list(self.process.stderr or ())

    def greeting(self) -> str:
        """What it prints once it takes events."""
        text = ""
        while "Ctrl-C" not in text:
            line = self.lines.get(timeout=TIMEOUT_S)
            assert line, "".join(self.errors)
            text += line
        return text

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command beside it, in the same folder."""
        return subprocess.run(
            [*PROGRAM, *words],
            cwd=self.folder,
            env=self.environ,
            text=True,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def end(self, number: int) -> int:
        """Send a signal to the whole foreground group, as a terminal does; its exit status."""
        os.killpg(self.process.pid, number)
        status = self.process.wait(TIMEOUT_S)
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pen stock"
    made.mkdir()
    return made


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def session(folder: Path, port: int) -> Iterator[Session]:
    started = Session(folder, port)
    yield started
    if started.process.poll() is None:
        started.end(signal.SIGKILL)


def until(found: object, timeout_s: float = TIMEOUT_S) -> str:
    deadline = time.monotonic() + timeout_s
    while not (answer := found()):  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


def send(curl: str) -> dict[str, object]:
    """Do what the printed curl line says."""
    words = shlex.split(curl)
    name, value = words[words.index("-H") + 1].split(": ")
    return request("POST", words[1], {name: value}, words[words.index("-d") + 1].encode())


def request(method: str, url: str, headers: dict[str, str], body: bytes | None = None) -> dict[str, object]:
    asked = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def test_the_first_minutes(session: Session, folder: Path, port: int) -> None:
    greeting = session.greeting()
    curl = next(line for line in greeting.splitlines() if line.strip().startswith("curl"))
    assert send(curl) == {"success": True}

    sql = next(line for line in greeting.splitlines() if " sql " in line)
    words = shlex.split(sql)
    rows = until(lambda: "First event" in (said := session.command(*words[1:]).stdout) and said)
    assert "user-1" in rows

    tail = session.command("events", "tail", "--json")
    event = json.loads(tail.stdout)["events"][0]
    assert event["links"][0]["state"] == "delivered"
    found = session.command("events", "find", event["messageId"])
    assert (found.returncode, "delivered" in found.stdout) == (0, True)
    lost = session.command("events", "find", "no-such-id")
    assert (lost.returncode, "no event with messageId" in lost.stderr) == (1, True)

    second = session.command("run", "--port", str(port))
    assert second.returncode == 1
    assert f":{port}: Address already in use" in second.stderr
    assert "Traceback" not in second.stderr

    keys = re.findall(r"(?:write key|admin token) +(\S+)", greeting)
    api_key = re.findall(r"API key +(\S+)", greeting)[0]
    listed = request("GET", f"http://127.0.0.1:{port}/api/user/keys", {"Authorization": f"Bearer {api_key}"})
    assert [key["id"] for key in listed["keys"]] == [api_key.partition(":")[0]]

    assert session.end(signal.SIGINT) == 0
    said = "".join(session.errors)
    assert "Traceback" not in said
    assert not [key for key in [*keys, api_key] if key in said]

    again = Session(folder, port)
    second_greeting = again.greeting()
    assert re.findall(r"(?:write key|admin token) +(\S+)", second_greeting) == keys
    assert "API key" not in second_greeting
    assert "First event" in until(lambda: again.command(*words[1:]).stdout)
    assert again.end(signal.SIGTERM) == 0
