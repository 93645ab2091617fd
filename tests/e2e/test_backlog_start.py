"""After a kill -9 with a large backlog the first event is taken well within a second."""

import time
from pathlib import Path

import pytest

from tests.e2e.backlog import EVENT_BYTES, fill, server_without_destination
from tests.running import Penstock, eventually, track

_FIRST_200_S_MAX = 1.0
_MORE_EVENTS = 100_000  # in the segment that the next start has to read


def _time_to_first_200(server: Penstock, message_id: str) -> float:
    """Seconds from the exec of the process to the answer 200 to an event."""

    def taken() -> bool:
        try:
            return server.post("/v1/track", track(message_id)).status == 200
        except OSError:
            return False

    began_s = time.monotonic()
    server.spawn()
    eventually(taken, "an event is taken", poll_s=0.002)
    return time.monotonic() - began_s


@pytest.mark.parametrize(
    "backlog_bytes",
    [100_000_000, pytest.param(1_000_000_000, marks=pytest.mark.long)],
    ids=["100MB", "1GB"],
)
def test_the_first_200_after_a_kill(tmp_path: Path, backlog_bytes: int) -> None:
    server = server_without_destination(tmp_path).start()
    try:
        times_s: list[float] = []
        events = 0
        for start in range(3):  # the quickest of three: the machine may be busy
            more = backlog_bytes // EVENT_BYTES if start == 0 else _MORE_EVENTS
            events += more + 1
            *_, acknowledged = fill(server, more, prefix=f"backlog{start}")
            assert acknowledged == more
            server.kill()
            times_s.append(_time_to_first_200(server, f"first{start}"))
        print(f"first 200 after {times_s} s with {server.metric('penstock_wal_bytes') / 1e6:.0f} MB")
        assert min(times_s) <= _FIRST_200_S_MAX, times_s
        assert server.metric("penstock_link_backlog_events") == events
        assert server.metric("penstock_wal_segments_missing") == 0
        assert server.stop() == 0
    finally:
        server.kill()
