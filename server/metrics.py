"""The Prometheus exposition of what is counted: a custom collector reads it when /metrics is asked for.
prometheus_client is imported only then (70 ms at start otherwise).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from server.counters import IngestCounters
from server.delivery import DestinationCounters, LinkState, LinkStatus
from storage import COMMIT_BOUNDS_S, WalStats

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric to expose. `kind` is counter or gauge; `rows` are (label values, value) in the order of
    `labels`.
    """

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    rows: Iterable[tuple[tuple[str, ...], float]]


def info_samples(name: str) -> Iterator[Sample]:
    """Which server this is: `server.name` and the version that runs."""
    labels = ("name", "version")
    yield Sample(
        "penstock_info", "gauge", "1; the labels say what runs.", labels, [((name, version("penstock")), 1)]
    )


def ingest_samples(counters: IngestCounters) -> Iterator[Sample]:
    """The ingest side of /metrics. In a thread: the counters go on growing meanwhile, so they are copied."""
    yield Sample(
        "penstock_events_accepted", "counter", "Events made durable.", ("stream",),
        [((stream,), n) for stream, n in list(counters.accepted.items())],
    )  # fmt: skip
    yield Sample(
        "penstock_events_dropped", "counter", "Events answered 2xx, not stored.", ("stream", "reason"),
        list(counters.dropped.items()),
    )  # fmt: skip
    yield Sample(
        "penstock_refused", "counter", "Requests and batch items refused, by reason.", ("reason",),
        [((slug,), n) for slug, n in list(counters.refused.items())],
    )  # fmt: skip
    yield Sample(
        "penstock_events_repaired", "counter", "Repairs of bodies that were not strict JSON.", (),
        [((), counters.repairs)],
    )  # fmt: skip
    yield Sample(
        "penstock_event_type_mismatches", "counter", "Events whose own type differed from the path's.", (),
        [((), counters.type_mismatches)],
    )  # fmt: skip
    yield Sample(
        "penstock_in_flight_bytes", "gauge", "Body bytes reserved by requests in flight.", (),
        [((), counters.in_flight_bytes)],
    )  # fmt: skip


def store_samples(stats: WalStats) -> Iterator[Sample]:
    """The store's side of /metrics."""
    gauges = {
        "penstock_wal_bytes": ("Bytes of all segments of the log.", stats.wal_bytes),
        "penstock_wal_segments": ("Segments of the log.", stats.segments),
        "penstock_wal_pending_bytes": ("Bytes appended and not yet durable.", stats.pending_bytes),
        "penstock_wal_holes": ("Damaged or missing ranges met since the start.", stats.holes),
        "penstock_wal_segments_missing": ("Segments missing or quarantined.", len(stats.missing_segments)),
        "penstock_wal_commit_longest_seconds": ("The longest commit.", stats.commit_longest_s),
        "penstock_dedupe_ids": ("Message ids known for dedupe.", stats.dedupe_ids),
        "penstock_dedupe_window_seconds": ("How far back a repeat is recognised.", stats.dedupe_window_s),
        "penstock_disk_free_bytes": ("Free bytes below the data directory.", stats.free_bytes),
        "penstock_clocks_diverged": ("1 while deletion by age is suspended.", stats.clocks_diverged),
    }
    for name, (text, value) in gauges.items():
        yield Sample(name, "gauge", text, (), [((), value)])
    counters = {
        "penstock_wal_refused_full": ("Commits that failed for want of room.", stats.refused_full),
        "penstock_wal_segments_trimmed": ("Segments unlinked.", stats.trimmed_segments),
        "penstock_wal_events_trimmed_unread": (
            "Events trimmed that no link read.",
            stats.trimmed_unread_events,
        ),
    }
    for name, (text, value) in counters.items():
        yield Sample(name, "counter", text, (), [((), value)])


def _commit_times(stats: WalStats) -> "Metric":
    """Commit times as a histogram. A commit is one LMDB transaction, its fsyncs included."""
    from prometheus_client.metrics_core import HistogramMetricFamily

    ends = [*map(str, COMMIT_BOUNDS_S), "+Inf"]
    buckets = list(zip(ends, accumulate(stats.commit_buckets), strict=True))
    text = "Time of a commit of the log, its fsyncs included."
    return HistogramMetricFamily("penstock_wal_commit_seconds", text, buckets, stats.commit_total_s)


def link_samples(links: Sequence[LinkStatus]) -> Iterator[Sample]:
    """The delivery side of /metrics, per link."""

    names = ("link", "stream", "destination")
    metrics: tuple[tuple[str, str, str, Callable[[LinkStatus], float]], ...] = (
        ("backlog_events", "gauge", "Events waiting.", lambda link: link.lag_events),
        ("backlog_bytes", "gauge", "Bytes waiting.", lambda link: link.lag_bytes),
        ("lag_seconds", "gauge", "Age of the oldest waiting event.", lambda link: link.lag_s),
        ("delivered", "counter", "Events delivered.", lambda link: link.delivered),
        ("dropped", "counter", "Events dropped by the link.", lambda link: link.dropped),
        ("dead_letters", "counter", "Events dead-lettered.", lambda link: link.dead_letters),
        ("parked_events", "gauge", "Events waiting for a locked table.", _parked_events),
        ("rate", "gauge", "Events delivered per second lately.", lambda link: link.rate_per_s),
        ("paused", "gauge", "1 while paused by an operator.", lambda link: link.paused_by == "operator"),
        ("up", "gauge", "0 from a failure until an attempt succeeds, paused or stopped.", _is_up),
    )
    for name, kind, text, value in metrics:
        rows = [((link.link_id, link.stream_id, link.destination_id), value(link)) for link in links]
        yield Sample(f"penstock_link_{name}", kind, text, names, rows)


def destination_samples(destinations: Mapping[str, DestinationCounters]) -> Iterator[Sample]:
    """The delivery side of /metrics, per destination."""
    texts = {
        "flushes": "Transactions that landed.",
        "rows": "Rows written.",
        "columns_added": "Columns added to tables.",
        "unmapped_values": "Values kept in _unmapped_data.",
        "overflow_values": "Of these, those for which the table had no column left.",
        "overflow_rows": "Rows that went to the generic table: the link had no table left.",
    }
    for name, text in texts.items():
        rows = [((id_,), getattr(counters, name)) for id_, counters in destinations.items()]
        yield Sample(f"penstock_destination_{name}", "counter", text, ("destination",), rows)


def _is_up(link: LinkStatus) -> bool:
    """Not by its state alone: during each attempt to reach a destination that is away a link is in motion."""
    return link.last_error is None and link.state in (LinkState.WAITING, LinkState.FLUSHING)


def _parked_events(link: LinkStatus) -> int:
    return sum(parked.events for parked in link.parked)


Source = Callable[[], Iterable[Sample]]


class _Collector:
    def __init__(self, sources: Iterable[Source], stats: WalStats) -> None:
        self._sources = tuple(sources)
        self._stats = stats

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        samples = [*chain.from_iterable(source() for source in self._sources), *store_samples(self._stats)]
        for sample in samples:
            family: Any = CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily
            metric = family(sample.name, sample.text, labels=sample.labels)
            for labels, value in sample.rows:
                metric.add_metric(labels, value)
            yield metric
        yield _commit_times(self._stats)


def exposition(sources: Iterable[Source], stats: WalStats) -> tuple[bytes, str]:
    """The /metrics document and its content type: sources and store first, then the process itself."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(sources, stats))
    ProcessCollector(registry=registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
