"""What delivery is told about a link, and what it says about one. Plain values; the composition makes them
from the catalog.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from server.warehouse import TableOptions


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
    layout: Literal["segment-single-table"] = "segment-single-table"
    primary_key: tuple[str, ...] = ("message_id",)
    deduplicate: bool = True
    timestamp_column: str | None = "timestamp"
    schema_freeze: bool = False
    batch_events_max: int = 10_000
    batch_bytes_max: int = 4 * 1024 * 1024
    flush_interval_s: float = 1.0
    frequency_minutes: int = 5
    table_name: str = "events"
    backlog_bytes_max: int = 0
    """Raw bytes this link may be behind before its stream gets 503; 0 = no bound but the store's own."""


def table_options(link: LinkConfig) -> TableOptions:
    """What the warehouse needs to know of the link."""
    return TableOptions(
        stream=link.stream_id,
        primary_key=link.primary_key,
        deduplicate=link.deduplicate,
        timestamp_column=link.timestamp_column,
        schema_freeze=link.schema_freeze,
        trusted_tables=frozenset({link.table_name}),
    )


class LinkState(Enum):
    """What a link is doing."""

    WAITING = "waiting"
    FLUSHING = "flushing"
    BACKING_OFF = "backing-off"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One link as seen from outside. Times are wall milliseconds; lags are those of what is not delivered
    yet.
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


class Fate(Enum):
    """What became of one event on one link."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DROPPED = "dropped"
    DEAD_LETTERED = "dead-lettered"


@dataclass(frozen=True, slots=True)
class LinkOutcome:
    """The answer to "where is my event" for one link; `reason` says why it was dropped or dead-lettered."""

    link_id: str
    fate: Fate
    reason: str | None = None
