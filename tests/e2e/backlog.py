"""A server with a large backlog: events of 700 bytes that no destination has taken yet."""

import http.client
from collections.abc import Iterator
from pathlib import Path

from tests.running import SERVER_KEY, Penstock, configuration, free_port

EVENTS_PER_BATCH = 1_400
EVENT_BYTES = 700
_TEXT = "x" * (EVENT_BYTES - 140)


def server_without_destination(folder: Path) -> Penstock:
    """A server, not started, whose link leads to a port where nobody listens."""
    data = folder / "data"
    return Penstock(
        folder, configuration(free_port(), data, f"postgresql://nobody@127.0.0.1:{free_port()}/x")
    )


def fill(server: Penstock, events: int, prefix: str = "backlog") -> Iterator[int]:
    """Send that many events in batches of about 1 MB; yields how many have been acknowledged so far."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for first in range(0, events, EVENTS_PER_BATCH):
        numbers = range(first, min(first + EVENTS_PER_BATCH, events))
        connection.request("POST", "/v1/batch", _batch(numbers, prefix), {"X-Write-Key": SERVER_KEY})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        yield numbers.stop
    connection.close()


def _batch(numbers: range, prefix: str) -> bytes:
    events = ",".join(
        f'{{"type":"track","event":"Backlog","userId":"u{number % 5_000}","messageId":"{prefix}-{number}",'
        f'"properties":{{"number":{number},"text":"{_TEXT}"}}}}'
        for number in numbers
    )
    return f'{{"batch":[{events}]}}'.encode()
