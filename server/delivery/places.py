"""Where links deliver to: a Postgres that can be tried, or one that cannot be yet. Thread: the event loop."""

import asyncio
from dataclasses import dataclass

from server.warehouse import Destination, Limits, PostgresConfig


@dataclass(frozen=True, slots=True)
class NotYet:
    """A destination whose address nobody knows yet; `reason` in words. Its links hold what comes in."""

    reason: str


Place = PostgresConfig | NotYet


class OpenDestination:
    """A destination that links share, and how many batches it may have in memory. Connects when used."""

    __slots__ = ("destination", "place", "slots")

    def __init__(self, place: Place, connections_max: int, limits: Limits | None, batches_max: int) -> None:
        self.place = place
        config = PostgresConfig() if isinstance(place, NotYet) else place  # nobody uses the one of NotYet
        self.destination = Destination(config, connections_max, limits)
        self.slots = asyncio.Semaphore(batches_max)
