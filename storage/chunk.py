"""What readers of the WAL get: events in groups that share a head, and the holes between them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive events that share a head: item i has offset `first_offset` + i."""

    first_offset: int
    committed_ms: int
    head: bytes
    items: list[bytes]


@dataclass(frozen=True, slots=True)
class Hole:
    """Offsets `first` to `last` that held or may have held events which cannot be read, and why."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events and holes up to offset `last`, complete and in order; `last` is where to read on."""

    groups: list[Group]
    holes: list[Hole]
    last: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where an event is."""

    stream: str
    offset: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event as it was stored."""

    stream: str
    offset: int
    committed_ms: int
    head: bytes
    item: bytes
