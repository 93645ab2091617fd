"""docs/metrics.md has every metric of /metrics with its type and labels, and no other."""

import re
from dataclasses import fields

from prometheus_client.parser import text_string_to_metric_families

from server.counters import IngestCounters
from server.delivery import DestinationCounters, LinkState, LinkStatus
from server.metrics import (
    destination_samples,
    exposition,
    info_samples,
    ingest_samples,
    link_samples,
)
from storage import COMMIT_BOUNDS_S, WalStats
from tests.tidy.sources import ROOT

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*)\|", re.MULTILINE)


def stats() -> WalStats:
    """Any values; the buckets must fit their bounds."""
    values = dict.fromkeys((field.name for field in fields(WalStats)), 0)
    values |= {"commit_buckets": (0,) * (len(COMMIT_BOUNDS_S) + 1), "missing_segments": ()}
    return WalStats(**values)


def link() -> LinkStatus:
    values = {field.name: 0 for field in fields(LinkStatus)}
    names = {"link_id": "l", "stream_id": "s", "destination_id": "d", "parked": (), "warnings": ()}
    return LinkStatus(**(values | names | {"state": LinkState.WAITING}))


def exposed() -> dict[str, tuple[str, set[str]]]:
    """Name → type and labels of what /metrics says, with a value for everything that has labels."""
    counters = IngestCounters()
    counters.accepted["site"] = counters.dropped["site", "duplicate"] = counters.refused["bad_json"] = 1
    sources = (
        lambda: info_samples("box"),
        lambda: ingest_samples(counters),
        lambda: link_samples([link()]),
        lambda: destination_samples({"warehouse": DestinationCounters()}),
    )
    families = text_string_to_metric_families(exposition(sources, stats())[0].decode())
    return {
        family.name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for family in families
    }


def test_the_page_has_every_metric() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    described = {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in _ROW.findall(page)}
    said = exposed()
    assert described == {name: told for name, told in said.items() if name.startswith("penstock_")}
    process = set(re.findall(r"`(process_\w+)`", page))
    assert process == {name for name in said if not name.startswith("penstock_")}
