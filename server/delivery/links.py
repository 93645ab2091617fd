"""What delivery is told about a link, and what it says about one. Plain values; the composition makes them
from the catalog.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from server.warehouse import TableOptions, table_name

from .stamps import LayoutName, stamps_of
from .start import StartFrom
from .table_names import constant_of


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One enabled link, stream → Postgres destination. `generation` grows when a link is made again under
    its old id.
    """

    id: str
    stream_id: str
    destination_id: str
    generation: int
    mode: Literal["stream", "batch"]
    layout: LayoutName = "segment-single-table"
    keep_original_names: bool = False
    primary_key: tuple[str, ...] = ("message_id",)
    deduplicate: bool = True
    timestamp_column: str | None = "timestamp"
    schema_freeze: bool = False
    batch_events_max: int = 10_000
    batch_bytes_max: int = 4 * 1024 * 1024
    flush_interval_s: float = 1.0
    frequency_minutes: int = 5
    table_name: str = "events"
    table_name_template: str | None = None
    """Names the table of an event (table_names.py); `table_name` takes the events that it names none for."""
    partition: Literal["none", "day"] = "none"
    start_from: StartFrom | None = None
    """Where the link begins if it was never seen before, or deleted; None: where it was, else the oldest."""
    backlog_bytes_max: int = 0
    """Raw bytes this link may be behind before its stream gets 503; 0 = no bound but the store's own."""


def table_options(link: LinkConfig) -> TableOptions:
    """What the warehouse needs to know of the link.

    `message_id` and `timestamp` in its options stand for the columns that the layout has for these fields.
    """
    stamps = stamps_of(link.layout, link.keep_original_names)
    time_column = link.timestamp_column
    return TableOptions(
        stream=link.stream_id,
        primary_key=tuple(stamps.message_id if name == "message_id" else name for name in link.primary_key),
        deduplicate=link.deduplicate,
        timestamp_column=stamps.timestamp if time_column == "timestamp" else time_column,
        schema_freeze=link.schema_freeze,
        trusted_tables=_trusted_tables(link),
        generic_table=table_name(link.table_name),
        partition=link.partition,
        received_column=stamps.received_at,
    )


def several_tables(link: LinkConfig) -> bool:
    """Whether the link is made for more tables than one; what single events name in addition apart."""
    template = link.table_name_template
    return link.layout == "segment" or (template is not None and constant_of(template) is None)


def _trusted_tables(link: LinkConfig) -> frozenset[str]:
    """Tables named in the configuration. Those of layout `segment` are not: a track event of any client may
    be called as one of them.
    """
    constant = constant_of(link.table_name_template) if link.table_name_template else None
    if constant is not None:
        return frozenset({constant})
    return frozenset() if link.layout == "segment" else frozenset({table_name(link.table_name)})


class LinkState(Enum):
    """What a link is doing."""

    WAITING = "waiting"
    FLUSHING = "flushing"
    BACKING_OFF = "backing-off"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ParkedTable:
    """A table that is locked, and how many events of a link wait for it; `reason` in words."""

    table: str
    events: int
    reason: str


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One link as seen from outside. Times are wall milliseconds.

    The lags are those of what is not delivered yet, parked events included; `lag_bytes` is what the log keeps
    for the link. `rate_per_s`: events delivered lately. `paused_by`: operator or breaker.
    """

    link_id: str
    stream_id: str
    destination_id: str
    state: LinkState
    alarm: str | None
    last_error: str | None
    next_attempt_ms: int | None
    checkpoint: int
    lag_events: int
    lag_bytes: int
    lag_s: float
    delivered: int
    dead_letters: int
    dropped: int
    rate_per_s: float
    paused_by: Literal["operator", "breaker"] | None
    parked: tuple[ParkedTable, ...]
    warnings: tuple[str, ...]
    """What the destination's tables lack that a link asked for, in sentences."""


class Fate(Enum):
    """What became of one event on one link."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    DEAD_LETTERED = "dead-lettered"


@dataclass(frozen=True, slots=True)
class LinkOutcome:
    """The answer to "where is my event" for one link; `reason` says why it was dropped or dead-lettered, or
    why it waits.
    """

    link_id: str
    fate: Fate
    reason: str | None = None
