"""Delivery: from the WAL to Postgres, exactly once, link by link. `Delivery` is the door.

Flushers read their stream in order (reader), lay events out as rows (layouts), flush them as batches
(preparer, flusher) and keep the books (checkpoint, ledger, outcome, dead_letters).
"""

from server.warehouse import Counters as DestinationCounters

from .dead_letters import DeadLetter, DeadLetters, Payload
from .links import Fate, LinkConfig, LinkOutcome, LinkState, LinkStatus, ParkedTable
from .places import NotYet, Place
from .start import StartFrom
from .supervisor import Delivery
from .waits import Patience

__all__ = [
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "DestinationCounters",
    "Fate",
    "LinkConfig",
    "LinkOutcome",
    "LinkState",
    "LinkStatus",
    "NotYet",
    "ParkedTable",
    "Patience",
    "Payload",
    "Place",
    "StartFrom",
]
