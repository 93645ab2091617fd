"""The promised speeds as ratios, taken in one run on this machine: `make bench-ratios`, or `python -m
bench.ratios`.

Penstock and the yardstick (bench/empty_server.py) run as processes of their own on loopback, the load
generator as a third; yardstick and Penstock alternate, round by round, so that a noisy machine disturbs both
alike. Each ratio is the median of the rounds. A commit takes its time however little is in it, so the ratio
of single events grows with what waits for each: it is taken with fewer and with more connections, too.
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

_BATCH: Final = 100
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
class Load:
    """What the generator does to one of the two servers. Measured once a round, whoever is compared by it."""

    path: str
    connections: int
    events: int = 1
    yardstick: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """Penstock beside the yardstick, under the same load."""

    name: str
    own: Load
    other: Load
    target: float | None = None

    def said(self, rounds: list[dict[Load, dict[str, float]]]) -> str:
        """The ratio, its target, and the speeds: medians of the rounds."""
        speeds = [(seen[self.own]["events_per_s"], seen[self.other]["events_per_s"]) for seen in rounds]
        ratio = statistics.median(own / other for own, other in speeds)
        own, other = (statistics.median(column) for column in zip(*speeds, strict=True))
        p99_ms = statistics.median(seen[self.own]["p99_ms"] for seen in rounds)
        target = "" if self.target is None else f" (target {self.target})"
        return f"{self.name}: {ratio:.2f}{target}; {own:.0f} ÷ {other:.0f} events/s, p99 {p99_ms:.1f} ms"


def _measured(what: Load, port: int, yardstick: int, seconds: float) -> dict[str, float]:
    return load(
        yardstick if what.yardstick else port,
        what.path,
        events=what.events,
        connections=what.connections,
        seconds=seconds,
    )


def _comparisons(connections: tuple[int, ...]) -> list[Comparison]:
    def single(count: int) -> Load:
        return Load("/v1/track", count)

    def yardstick(path: str, count: int, events: int = 1) -> Load:
        return Load(path, count, events, yardstick=True)

    first, *others = connections
    return [
        Comparison("single ÷ empty handler", single(first), yardstick("/empty", first), 0.7),
        Comparison("single ÷ handler that reads its body", single(first), yardstick("/read", first)),
        Comparison(
            "batch ÷ orjson.loads handler",
            Load("/v1/batch", _BATCH_CONNECTIONS, _BATCH),
            yardstick("/loads", _BATCH_CONNECTIONS, _BATCH),
            0.5,
        ),
        *(
            Comparison(
                f"single ÷ empty handler, {count} connections", single(count), yardstick("/empty", count)
            )
            for count in others
        ),
    ]


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Alternating rounds.")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds per measurement.")
@click.option(
    "--connections",
    default=(256, 64, 768),
    show_default=True,
    multiple=True,
    help="Connections of the generator for single events; the target is for the first number given.",
)
def main(rounds: int, seconds: float, connections: tuple[int, ...]) -> None:
    """Measure ingest against the yardstick and print the ratios."""
    comparisons = _comparisons(connections)
    loads = dict.fromkeys(each for comparison in comparisons for each in (comparison.other, comparison.own))
    seen: list[dict[Load, dict[str, float]]] = []
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
                seen.append({each: _measured(each, port, yardstick, seconds) for each in loads})
                click.echo(f"round {number + 1} of {rounds}")
                for comparison in comparisons:
                    click.echo(f"  {comparison.said(seen[-1:])}")
    click.echo("medians of the rounds")
    for comparison in comparisons:
        click.echo(f"  {comparison.said(seen)}")


if __name__ == "__main__":
    main()
