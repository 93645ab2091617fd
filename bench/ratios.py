"""The promised speeds as ratios, taken in one run on this machine: `make bench-ratios`, or `python -m
bench.ratios`.

Penstock and the yardstick (bench/empty_server.py) run as processes of their own on loopback, the load
generator as a third; yardstick and Penstock alternate, round by round, so that a noisy machine disturbs both
alike. Each ratio is the median of the rounds.
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
from pathlib import Path

import click

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


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Alternating rounds.")
@click.option("--seconds", default=3.0, show_default=True, help="Seconds per measurement.")
@click.option("--connections", default=256, show_default=True, help="Connections of the generator.")
def main(rounds: int, seconds: float, connections: int) -> None:
    """Measure ingest against the yardstick and print the ratios."""
    with tempfile.TemporaryDirectory() as directory:
        yardstick, port = free_port(), free_port()
        conf = Path(directory) / "penstock.yaml"
        conf.write_text(_CONF.format(port=port, data=Path(directory) / "data"))
        penstock = (sys.executable, "-m", "server.cli", "serve", "--conf", str(conf))
        single: list[tuple[float, float]] = []
        reading: list[tuple[float, float]] = []
        batch: list[tuple[float, float]] = []
        with (
            process(sys.executable, "-m", "bench.empty_server", str(yardstick), port=yardstick),
            process(*penstock, port=port),
        ):
            for number in range(rounds):
                empty = load(yardstick, "/empty", events=1, connections=connections, seconds=seconds)
                durable = load(port, "/v1/track", events=1, connections=connections, seconds=seconds)
                read = load(yardstick, "/read", events=1, connections=connections, seconds=seconds)
                loads = load(yardstick, "/loads", events=100, connections=32, seconds=seconds)
                batches = load(port, "/v1/batch", events=100, connections=32, seconds=seconds)
                single.append((durable["requests_per_s"], empty["requests_per_s"]))
                reading.append((durable["requests_per_s"], read["requests_per_s"]))
                batch.append((batches["events_per_s"], loads["events_per_s"]))
                click.echo(
                    f"round {number + 1}: single {single[-1][0]:.0f} / empty {single[-1][1]:.0f} req/s "
                    f"(p99 {durable['p99_ms']:.1f} ms); "
                    f"batch {batch[-1][0]:.0f} / loads {batch[-1][1]:.0f} events/s "
                    f"(p99 {batches['p99_ms']:.1f} ms)"
                )
        for name, pairs, target in (
            ("single ÷ empty handler", single, 0.7),
            ("single ÷ handler that reads its body", reading, None),
            ("batch ÷ orjson.loads handler", batch, 0.5),
        ):
            ratio = statistics.median(a / b for a, b in pairs)
            click.echo(
                f"{name}: {ratio:.2f}{f' (target {target})' if target else ''}; "
                f"{statistics.median(a for a, _ in pairs):.0f}/s"
            )


if __name__ == "__main__":
    main()
