"""Events that the destination refuses for good: dead letters that `penstock events find` explains."""

import subprocess
import sys

import pytest

from tests.faults.server.conftest import StartFunction
from tests.running import Penstock, delivered, rows, track

_PICKY = "CREATE TABLE events (message_id text PRIMARY KEY, n bigint CHECK (n < 1000), short varchar(3) NULL)"


def _find(server: Penstock, message_id: str) -> str:
    """What a person sees."""
    command = [sys.executable, "-m", "server.cli", "events", "find", message_id]
    command += ["--conf", str(server.folder / "penstock.yaml"), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_poison_event_is_a_dead_letter_and_the_rest_arrives(
    make_server: StartFunction, database: str
) -> None:
    rows(database, _PICKY)
    server = make_server(database).start()
    numbers = [1, 2, 1_003, 4, 5, 1_006, 7]
    events = [track(f"n{number}", n=number) for number in numbers]
    assert server.post("/v1/batch", {"batch": events}).json["okEvents"] == len(numbers)
    server.drained()
    assert sorted(delivered(database)) == sorted(f"n{number}" for number in numbers if number < 1_000)
    assert server.metric("penstock_link_dead_letters_total") == 2
    found = _find(server, "n1003")
    assert "dead-lettered" in found
    assert "events_n_check" in found
    assert '"delivered"' in _find(server, "n4")
    assert server.stop() == 0


@pytest.mark.parametrize("times", [1, 2], ids=["once", "killed"])
def test_a_dead_letter_outlives_the_process(make_server: StartFunction, database: str, times: int) -> None:
    rows(database, _PICKY)
    server = make_server(database).start()
    assert server.post("/v1/track", track("bad", n=5_000)).status == 200
    assert server.post("/v1/track", track("good", n=5)).status == 200
    server.drained()
    for _ in range(times):
        server.kill()
        server.start()
        server.drained()
    assert server.metric("penstock_link_dead_letters_total") == 1
    assert "events_n_check" in _find(server, "bad")
    assert delivered(database) == ["good"]
    assert server.stop() == 0
