"""An HTTP load generator on loopback: closed loop (N connections, next request after the answer) or open loop
(a fixed rate).

It is a process of its own so that the server keeps a core to itself. Every acknowledged event's messageId can
be written to a record file, the outside witness of what was answered 2xx. Raw protocol on uvloop, because a
client library would be slower than the server under test. Run `python -m loadtests.generator --help`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import click
import uvloop

# A realistic ~700 B track event; %s is the messageId.
_EVENT = (
    b'{"type":"track","event":"Product Added","messageId":"%s","userId":"user_98765",'
    b'"anonymousId":"0f8fad5b-d9cb","timestamp":"2026-02-25T14:30:00.000Z","properties":{'
    b'"product_id":"SKU-1234","name":"Wireless Headphones","price":79.99,"currency":"USD","quantity":1,'
    b'"coupon":null,"tags":["audio","sale"]},"context":{"page":{'
    b'"url":"https://shop.example.com/products/headphones","title":"Wireless Headphones | Shop",'
    b'"referrer":"https://shop.example.com/category/audio","path":"/products/headphones"},'
    b'"userAgent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:109.0) Gecko/20100101 Firefox/111.0",'
    b'"locale":"en-US","timezone":"America/New_York","library":{"name":"loadtest","version":"1.0.0"}}}'
)

_PACE_S = 0.001
"""Between two looks at what is due. uvloop rounds to milliseconds: less would be none, and a generator that
spins takes a core from the server under test."""


@dataclass(slots=True)
class Report:
    """What one run saw. Latencies in seconds, of answered requests, in order of arrival."""

    events_per_request: int
    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    cut: int = 0
    answer_bytes: int = 0
    """Length of the last good answer: most have the same."""

    def quantile_ms(self, q: float) -> float:
        """Latency quantile in milliseconds; 0 when nothing was answered."""
        if not self.latencies_s:
            return 0.0
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * q))] * 1000

    def summary(self) -> dict[str, object]:
        """The figures as one JSON-able object."""
        good = self.statuses.get(200, 0)
        return {
            "requests_per_s": round(good / self.elapsed_s, 1),
            "events_per_s": round(good * self.events_per_request / self.elapsed_s, 1),
            "p50_ms": round(self.quantile_ms(0.5), 3),
            "p99_ms": round(self.quantile_ms(0.99), 3),
            "max_ms": round(self.quantile_ms(1.0), 3),
            "statuses": self.statuses,
            "connections_cut": self.cut,
        }


class Source:
    """Makes requests with messageIds that no other run makes, and records the acknowledged ones.

    Every id has the same length, so a request is two fixed pieces with the ids joined in between: the less
    the generator costs, the more of the machine is left to the server under test.
    """

    def __init__(self, path: str, key: str, events: int, record: BinaryIO | None, limit: int) -> None:
        self._events = events
        self._record = record
        self._run = f"{time.time_ns():016x}"
        self._count = 0
        self._limit = limit
        before, after = _EVENT.split(b"%s")
        open_, close = (b"", b"") if events == 1 else (b'{"batch":[', b"]}")
        self._between = after + b"," + before
        id_bytes = len(self._id())
        body_bytes = len(open_ + close) + events * (len(before + after) + id_bytes) + events - 1
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-Write-Key: {key}\r\nContent-Length: {body_bytes}\r\n\r\n"
        )
        self._first = head.encode() + open_ + before
        self._last = after + close

    @property
    def exhausted(self) -> bool:
        """The requested number of events was sent."""
        return 0 < self._limit <= self._count

    def request(self) -> tuple[bytes, list[bytes]]:
        """The bytes of one request and the messageIds in it."""
        ids = [self._id() for _ in range(self._events)]
        return self._first + self._between.join(ids) + self._last, ids

    def acknowledged(self, ids: list[bytes]) -> None:
        """Record ids whose request was answered 200."""
        if self._record is not None:
            self._record.write(b"\n".join(ids) + b"\n")
            self._record.flush()

    def _id(self) -> bytes:
        self._count += 1
        return b"%s-%010d" % (self._run.encode(), self._count)


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, source: Source, report: Report, done: Callable[["_Connection"], None]) -> None:
        self._source, self._report, self._done = source, report, done
        self._received = b""
        self._ids: list[bytes] = []
        self._sent_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, started_s: float) -> None:
        """Send the next request; `started_s` is when it was due, so that a late start counts as latency."""
        request, self._ids = self._source.request()
        self._sent_s = started_s
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if len(data) == self._report.answer_bytes and not self._received:
            status = int(data[9:12])  # as long as the last good answer: whole
        else:
            self._received += data
            found = _answer(self._received)
            if found is None:
                return
            status = found
            if status == 200:
                self._report.answer_bytes = len(self._received)
            self._received = b""
        self._report.statuses[status] = self._report.statuses.get(status, 0) + 1
        if status == 200:
            self._report.latencies_s.append(time.perf_counter() - self._sent_s)
            self._source.acknowledged(self._ids)
        self._done(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._report.cut += exc is not None

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.close()


def _answer(received: bytes) -> int | None:
    """The status, once the answer is complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = received[:end].lower()
    length = int(head.split(b"content-length:")[1].split(b"\r")[0])
    return int(head[9:12]) if len(received) >= end + 4 + length else None


async def run(
    port: int, source: Source, connections: int, seconds: float, rate: float, events: int
) -> Report:
    """Drive the server for `seconds`; `rate` requests per second, or 0 for as fast as the answers come."""
    report = Report(events)
    loop = asyncio.get_running_loop()
    idle: list[_Connection] = []
    finished = asyncio.Event()

    def done(connection: _Connection) -> None:
        if source.exhausted:
            finished.set()
        elif rate:
            idle.append(connection)
        elif not finished.is_set():
            connection.send(time.perf_counter())

    opened: list[_Connection] = []
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: _Connection(source, report, done), "127.0.0.1", port
        )
        opened.append(connection)
    started = time.perf_counter()
    loop.call_later(seconds, finished.set)
    if rate:
        idle.extend(opened)
        due = started
        while not finished.is_set():
            while due <= time.perf_counter() and idle:
                idle.pop().send(due)
                due += 1 / rate
            await asyncio.sleep(_PACE_S)
    else:
        for connection in opened:
            connection.send(time.perf_counter())
    await finished.wait()
    report.elapsed_s = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return report


@click.command()
@click.option("--port", default=3049, show_default=True, help="Port of the server, on 127.0.0.1.")
@click.option("--path", default="/v1/track", show_default=True, help="Ingest path.")
@click.option("--key", default="site-s:ssecret", show_default=True, help="Write key.")
@click.option(
    "--connections",
    default=64,
    show_default=True,
    help="Keep-alive connections, one request in flight on each.",
)
@click.option("--seconds", default=5.0, show_default=True, help="How long to send.")
@click.option(
    "--rate", default=0.0, show_default=True, help="Requests per second; 0 = as fast as answers come."
)
@click.option("--events", default=1, show_default=True, help="Events per request; more than 1 makes batches.")
@click.option("--limit", default=0, show_default=True, help="Stop after this many events; 0 = no limit.")
@click.option(
    "--record", type=click.Path(path_type=Path), help="Append every acknowledged messageId to this file."
)
def main(
    port: int,
    path: str,
    key: str,
    connections: int,
    seconds: float,
    rate: float,
    events: int,
    limit: int,
    record: Path | None,
) -> None:
    """Send events to a Penstock on this machine and print the figures as JSON."""
    stream = record.open("ab") if record else None
    source = Source(path, key, events, stream, limit)
    report = uvloop.run(run(port, source, connections, seconds, rate, events))
    json.dump(report.summary(), sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
