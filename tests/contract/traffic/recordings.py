"""Requests that unmodified public SDKs really sent, one JSON line each, recorded once on loopback; the SDKs'
code is other people's, the event data is made up. `recorded/` holds the bytes as they were on the wire, made
by the drivers of tests/sdk.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "recorded"

REQUESTS = {
    "analytics-jitsu-plugin-node": 8,
    "analytics-node": 39,
    "analytics-python": 66,
    "jitsu-js-browser": 145,
    "jitsu-js-node": 110,
    "jitsu-js-npm-browser": 17,
    "jitsu-sdk-js-browser": 50,
    "jitsu-sdk-js-node": 42,
    "posthog-python": 9,
    "rudder-sdk-js-browser": 161,
    "rudder-sdk-node": 42,
    "rudder-sdk-python": 24,
    "rudderstack-analytics-js-browser": 84,
    "segment-analytics-next-1.70-browser": 72,
    "segment-analytics-next-browser": 54,
    "segment-analytics-next-npm-browser": 106,
    "segment-analytics-node": 14,
    "segment-analytics-node-1.3": 33,
    "segment-analytics-node-2.1": 33,
    "segment-analytics-python": 60,
    "segment-analytics-python-2.2": 41,
    "snowplow-tracker-python": 9,
}
"""Every recording and how many requests it has: one that goes missing must fail a test."""

SIDES = ("browser", "node", "python")

FOREIGN = {"posthog-python", "snowplow-tracker-python"}
"""SDKs of another style, which Penstock does not speak: it says so in words they understand."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request. `body` is what was on the wire, `plain` what it says once inflated."""

    sdk: str
    scenario: str
    number: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def name(self) -> str:
        """For messages: which request it is."""
        return f"{self.sdk} {self.scenario}/{self.number} {self.method} {self.path}"

    @property
    def plain(self) -> bytes:
        return gzip.decompress(self.body) if self.header("content-encoding") == "gzip" else self.body

    @property
    def is_browser(self) -> bool:
        return side(self.sdk) == "browser"

    def header(self, name: str) -> str:
        """The first value, "" if there is none."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def wire(self, host: str) -> bytes:
        """The request byte for byte, Host alone rewritten."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{key}: {host if key.lower() == 'host' else value}" for key, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def side(sdk: str) -> str:
    """Where an SDK runs: browser, node or python."""
    return next(name for name in SIDES if f"-{name}" in sdk)


@cache
def recorded(sdk: str) -> tuple[Recorded, ...]:
    """The requests of one SDK, in the order in which it sent them."""
    return tuple(_lines(sdk))


def _lines(sdk: str) -> Iterator[Recorded]:
    with gzip.open(FOLDER / f"{sdk}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            headers = tuple((key, value) for key, value in row["headers"])
            body = base64.b64decode(row["body_b64"])
            yield Recorded(sdk, row["scenario"], row["seq"], row["method"], row["path"], headers, body)
