"""A destination that is away for a weekend: everything is kept, and arrives once, in order and at full speed.

The link has no merge key: nothing would hide a row that was loaded twice, and the xmin of a row tells its
transaction.
"""

import time
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.backlog import fill
from tests.e2e.test_memory import memory_mb
from tests.running import Penstock, configuration, eventually, free_port, rows

_GROWTH_MB_MAX = 200
"""Of resident memory during the recovery, above what it was before: two batches, their rows and bytes, the
segments of the log that are mapped while they are read (64 MiB each), and what the allocator keeps.
"""
_SLOWER_MAX = 1.5
"""Times that the second half of the backlog may take of what the first one took. The box may be busy."""
_SAMPLES = 10


def _recover(server: Penstock, events: int) -> tuple[list[float], list[float]]:
    """Until everything is delivered: seconds that each tenth took, and megabytes resident after it."""
    times_s, memory = [time.monotonic()], []
    for sample in range(1, _SAMPLES + 1):
        goal = events * sample // _SAMPLES
        arrived = lambda: server.metric("penstock_link_delivered_total") >= goal  # noqa: B023, E731
        eventually(arrived, f"{goal} events are delivered", 600, poll_s=0.1)
        times_s.append(time.monotonic())
        memory.append(memory_mb(server)["VmRSS"])
    return [after - before for before, after in pairwise(times_s)], memory


@pytest.mark.parametrize(
    "events", [30_000, pytest.param(1_000_000, marks=pytest.mark.long)], ids=["small", "a-million"]
)
def test_a_weekend_without_the_destination(
    tmp_path: Path, database: str, postgres_url: str, events: int
) -> None:
    conf = configuration(free_port(), tmp_path / "data", database)
    conf["links"]["site-warehouse"]["data"] |= {"deduplicate": False}
    server = Penstock(tmp_path, conf)
    _open(postgres_url, database, "false")
    try:
        server.start()
        *_, acknowledged = fill(server, events)
        assert acknowledged == events
        assert server.metric("penstock_link_backlog_events") == events
        eventually(lambda: server.metric("penstock_link_up") == 0, "an attempt has failed")
        _open(postgres_url, database, "true")
        began_s = time.monotonic()
        before = memory_mb(server)["VmRSS"]
        took_s, memory = _recover(server, events)
        print(f"{events / (time.monotonic() - began_s):.0f} events/s; tenths in s: {took_s}; MB: {memory}")
        assert max(memory) - before < _GROWTH_MB_MAX, (before, memory)
        if events >= 1_000_000:  # a tenth of the small one is a batch or less
            half = _SAMPLES // 2
            assert sum(took_s[half:]) < _SLOWER_MAX * sum(took_s[:half]), took_s
        assert server.metric("penstock_link_dead_letters_total") == 0
        assert server.metric("penstock_link_lag_seconds") == 0
        assert server.stop() == 0
    finally:
        server.kill()
        _open(postgres_url, database, "true")
    _everything_once_and_in_order(database, events)


def _open(postgres_url: str, database: str, allowed: str) -> None:
    """Whether the database takes connections."""
    name = urlsplit(database).path.lstrip("/")
    rows(postgres_url, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS {allowed}')


def _everything_once_and_in_order(database: str, events: int) -> None:
    (found,) = rows(database, "SELECT count(*), count(DISTINCT message_id), max(number) FROM events")
    assert tuple(found) == (events, events, events - 1)
    batches = rows(
        database,
        "SELECT count(*) AS events, min(number) AS first, max(number) AS last "
        "FROM events GROUP BY xmin ORDER BY xmin::text::bigint",
    )
    assert all(batch["last"] - batch["first"] + 1 == batch["events"] for batch in batches)
    assert [batch["first"] for batch in batches] == [0, *(batch["last"] + 1 for batch in batches[:-1])]
