"""The promised speeds as ratios, taken in one run on this machine: `make bench-ratios`, or `python -m
bench.ratios`.

Penstock and the yardstick (bench/empty_server.py) run as processes of their own on loopback, the load
generator as a third; yardstick and Penstock alternate, round by round, so that a noisy machine disturbs both
alike. Each ratio is the median of the rounds. A commit takes its time however little is in it, so the ratio
of single events grows with what waits for each: it is taken at several numbers of connections, and the target
is for a server that has as much as it can do.
"""

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

_SINGLE_TARGET: Final = 0.7
_BATCH_TARGET: Final = 0.5
_BATCH_CONNECTIONS: Final = 32
_CONF = """
server: {{host: 127.0.0.1, port: {port}, name: bench, admin_token: bench-token}}
store: {{path: "{data}"}}
streams:
  site:
    name: Bench
    server_keys: ["site-s:ssecret"]
destinations: {{}}
links: {{}}
"""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(*command: str, port: int) -> Iterator[int]:
    """Run a server until the block ends; it has to listen on `port` within 20 s. Gives its process id."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ))
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{command} did not start: {child.stderr.read().decode() if child.stderr else ''}"
                )
            time.sleep(0.02)
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(20)


def load(
    port: int, path: str, *, events: int, connections: int, seconds: float, rate: float = 0
) -> dict[str, float]:
    """One generator run; its figures."""
    command = [
        sys.executable, "-m", "loadtests.generator", "--port", str(port), "--path", path,
        "--events", str(events),
        "--connections", str(connections), "--seconds", str(seconds), "--rate", str(rate),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    if not figures["requests_per_s"]:
        raise click.ClickException(f"nothing was answered 200: {done.stdout}{done.stderr}")
    return figures


@dataclass(frozen=True, slots=True)
class Comparison:
    """Penstock beside a yardstick, under the same load: a path of each, and what one request brings."""

    name: str
    path: str
    yardstick: str
    connections: int
    events: int = 1
    target: float | None = None

    def measure(self, port: int, yardstick: int, seconds: float) -> tuple[float, float]:
        """Events a second of either, one after the other."""
        other = load(
            yardstick, self.yardstick, events=self.events, connections=self.connections, seconds=seconds
        )
        own = load(port, self.path, events=self.events, connections=self.connections, seconds=seconds)
        return own["events_per_s"], other["events_per_s"]

    def said(self, pairs: list[tuple[float, float]]) -> str:
        """The ratio, its target, and the speeds."""
        ratio = statistics.median(own / other for own, other in pairs)
        own, other = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
        target = "" if self.target is None else f" (target {self.target})"
        return f"{self.name}: {ratio:.2f}{target}; {own:.0f} ÷ {other:.0f} events/s"


def _comparisons(connections: tuple[int, ...]) -> list[Comparison]:
    most = connections[-1]
    singles = [
        Comparison(
            f"single ÷ empty handler, {count} connections",
            "/v1/track",
            "/empty",
            count,
            target=_SINGLE_TARGET if count == most else None,
        )
        for count in connections
    ]
    reading = Comparison(
        f"single ÷ handler that reads its body, {most} connections", "/v1/track", "/read", most
    )
    batch = Comparison(
        "batch ÷ orjson.loads handler", "/v1/batch", "/loads", _BATCH_CONNECTIONS, 100, _BATCH_TARGET
    )
    return [*singles, reading, batch]


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Alternating rounds.")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds per measurement.")
@click.option(
    "--connections",
    default=(64, 256, 768),
    show_default=True,
    multiple=True,
    help="Connections of the generator, once for each series of single events; the target is for the last.",
)
def main(rounds: int, seconds: float, connections: tuple[int, ...]) -> None:
    """Measure ingest against the yardstick and print the ratios."""
    comparisons = _comparisons(connections)
    seen: dict[str, list[tuple[float, float]]] = {comparison.name: [] for comparison in comparisons}
    with tempfile.TemporaryDirectory() as directory:
        yardstick, port = free_port(), free_port()
        conf = Path(directory) / "penstock.yaml"
        conf.write_text(_CONF.format(port=port, data=Path(directory) / "data"))
        penstock = (sys.executable, "-m", "server.cli", "serve", "--conf", str(conf))
        with (
            process(sys.executable, "-m", "bench.empty_server", str(yardstick), port=yardstick),
            process(*penstock, port=port),
        ):
            for number in range(rounds):
                click.echo(f"round {number + 1} of {rounds}")
                for comparison in comparisons:
                    pair = comparison.measure(port, yardstick, seconds)
                    seen[comparison.name].append(pair)
                    click.echo(f"  {comparison.said([pair])}")
    click.echo("medians of the rounds")
    for comparison in comparisons:
        click.echo(f"  {comparison.said(seen[comparison.name])}")


if __name__ == "__main__":
    main()
