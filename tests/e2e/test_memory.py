"""Memory of the whole process: small when idle, flat while a destination is away."""

import re
from pathlib import Path

import pytest

from tests.e2e.backlog import fill, server_without_destination
from tests.running import Penstock, configuration, free_port, track

MIB = 1024 * 1024
_IDLE_RSS_MB_MAX = 120
_GROWTH_MB_MAX = 20
_BUFFERS_MB_MAX = 60


def memory_mb(server: Penstock) -> dict[str, float]:
    """Resident memory by kind: RssAnon is what the process allocated, RssFile what it maps, WAL and code."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.findall(r"^(VmRSS|RssAnon|RssFile):\s+(\d+) kB$", status, re.MULTILINE)
    return {name: int(kilobytes) / 1024 for name, kilobytes in found}


def test_an_idle_server_is_small(tmp_path: Path, database: str) -> None:
    server = Penstock(tmp_path, configuration(free_port(), tmp_path / "data", database)).start()
    try:
        assert server.post("/v1/track", track("one")).status == 200
        server.drained()
        memory = memory_mb(server)
        print(f"idle: {memory}")
        assert memory["VmRSS"] < _IDLE_RSS_MB_MAX, memory
        assert server.stop() == 0
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("events", "dedupe_bytes_max"),
    [(200_000, 4 * MIB), pytest.param(1_600_000, 64 * MIB, marks=pytest.mark.long)],
    ids=["small", "a-million-and-more"],
)
def test_memory_is_flat_while_the_destination_is_away(
    tmp_path: Path, events: int, dedupe_bytes_max: int
) -> None:
    # What grows is the set of known ids, up to its bound: half of the events fill it.
    server = server_without_destination(tmp_path)
    server.conf["store"]["dedupe_bytes_max"] = dedupe_bytes_max
    server.start()
    try:
        seen = {0: memory_mb(server)}
        for acknowledged in fill(server, events):
            if acknowledged >= events * len(seen) // 8:
                seen[acknowledged] = memory_mb(server)
        for at, memory in seen.items():
            print(f"after {at} events: {memory}")
        resident = [memory["VmRSS"] for memory in seen.values()]
        assert max(resident[4:]) - resident[4] < _GROWTH_MB_MAX, resident
        assert max(resident) - resident[0] < dedupe_bytes_max / MIB + _BUFFERS_MB_MAX, resident
        assert server.metric("penstock_link_backlog_events") == events
        assert server.stop() == 0
    finally:
        server.kill()
