"""Every request that real SDKs were recorded sending is answered as that SDK needs it, and every event in it
is one row with what it said.
"""

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import fresh_database
from tests.contract.traffic.needs import shortcomings
from tests.contract.traffic.recordings import FOLDER, FOREIGN, REQUESTS, SIDES, Recorded, recorded, side
from tests.contract.traffic.reference import Told, differences, events_of, told
from tests.running import Answer, Penstock, configuration, free_port, rows, running

_KEYS = ["wk_test_0123456789abcdef", "k_test_jitsu:s_test_secret", "k_colon:s_secret"]
_PAGE = "http://localhost:18081"


@dataclass(slots=True)
class Replay:
    """What became of the recordings of one kind of key."""

    began: datetime
    answers: dict[str, list[tuple[Recorded, Answer]]] = field(default_factory=dict)
    events: list[Told] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    duplicates: float = 0
    dead_letters: float = 0


Replays = dict[str, Replay]


class Wire:
    """One connection to the server, opened again where it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(self, request: Recorded) -> Answer:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        self._socket.sendall(request.wire(f"127.0.0.1:{self._port}"))
        response = http.client.HTTPResponse(self._socket, method=request.method)
        response.begin()
        names = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, names, response.read())
        if response.will_close or request.header("connection").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@pytest.fixture(scope="module")
def replays(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replays]:
    """By side. Each has a server of its own, because the recordings use the same write keys everywhere, and a
    table of its own, because only Python sends large integers exactly: the others' would make a column that
    cannot hold them.
    """
    with ExitStack() as databases:
        yield {
            where: _replay(
                tmp_path_factory.mktemp(where),
                databases.enter_context(fresh_database(postgres_url)),
                "browser_keys" if where == "browser" else "server_keys",
                [sdk for sdk in REQUESTS if side(sdk) == where],
            )
            for where in SIDES
        }


def _replay(folder: Path, database: str, keys: str, sdks: list[str]) -> Replay:
    conf = configuration(free_port(), folder / "data", database)
    conf["streams"]["site"] = {"name": "Replayed", keys: _KEYS, "origins": [_PAGE]}
    replay = Replay(datetime.now(UTC))
    with running(Penstock(folder, conf)) as server, closing(Wire(server.port)) as wire:
        for sdk in sdks:
            replay.answers[sdk] = [(request, wire.send(request)) for request in recorded(sdk)]
        server.drained()
        replay.duplicates = server.metric("penstock_events_dropped_total", "duplicate")
        replay.dead_letters = server.metric("penstock_link_dead_letters_total")
    replay.events = told(request for sdk in sdks for request in recorded(sdk))
    replay.rows = rows(database, "SELECT * FROM events ORDER BY received_at")
    return replay


def test_no_recording_is_left_out() -> None:
    assert {path.name.removesuffix(".jsonl.gz") for path in FOLDER.iterdir()} == REQUESTS.keys()
    assert {sdk: len(recorded(sdk)) for sdk in REQUESTS} == REQUESTS


@pytest.mark.parametrize("sdk", REQUESTS)
def test_every_request_is_answered_as_the_sdk_needs_it(replays: Replays, sdk: str) -> None:
    answers = replays[side(sdk)].answers[sdk]
    assert len(answers) == REQUESTS[sdk]
    assert [text for request, answer in answers for text in shortcomings(request, answer)] == []


@pytest.mark.parametrize("sdk", [sdk for sdk in REQUESTS if sdk not in FOREIGN])
def test_every_event_is_one_row_with_what_it_said(replays: Replays, sdk: str) -> None:
    replay = replays[side(sdk)]
    events = [event for event in replay.events if event.request.sdk == sdk]
    assert events
    by_id = {row["message_id"]: row for row in replay.rows}
    named = [event for event in events if event.message_id is not None]
    assert [event.message_id for event in named if event.message_id not in by_id] == []
    assert [text for event in named for text in differences(event, by_id[event.message_id])] == []
    left = [
        row for row in replay.rows if row["message_id"] not in {event.message_id for event in replay.events}
    ]
    for event in events:
        if event.message_id is None:
            left.remove(next(row for row in left if not differences(event, row)))


@pytest.mark.parametrize("where", SIDES)
def test_nothing_else_became_a_row(replays: Replays, where: str) -> None:
    replay = replays[where]
    sent = sum(len(list(events_of(request))) for sdk in replay.answers for request in recorded(sdk))
    assert len(replay.rows) == len(replay.events) == sent - replay.duplicates
    assert replay.dead_letters == 0
    assert all(replay.began <= row["received_at"] <= datetime.now(UTC) for row in replay.rows)


def _rows(replays: Replays, where: str, event: str) -> list[Any]:
    found = [row for row in replays[where].rows if row["event"] == event]
    assert found
    return found


def test_the_edges_arrived(replays: Replays) -> None:
    """The recordings hold them: an empty recording would pass everything above."""
    for where in SIDES:
        assert all(row["nul"] == "ab" for row in _rows(replays, where, "Edge Unicode 🎉 Ωμέγα"))
        assert all(row["bad"] == "a\ufffdb" for row in _rows(replays, where, "Lone surrogate"))
    numbers = _rows(replays, "python", "Edge Numbers")
    assert {row["uint64_max"] for row in numbers} == {str(2**64 - 1)}
    assert {row["beyond_uint64"] for row in numbers} == {"123456789012345678901234567890"}
    not_numbers = _rows(replays, "python", "NaN and Infinity")
    assert all(row["ok"] == 1 and not {"nan", "inf", "ninf"} & set(row.keys()) for row in not_numbers)
    for where in ("browser", "node"):
        assert all(len(row["blob"]) == 120_000 for row in _rows(replays, where, "Huge 120kB"))
    assert max(len(request.body) for request in recorded("segment-analytics-python")) > 490_000
