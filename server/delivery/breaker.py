"""The breaker: events that fail one after the other for one cause are a fault of the destination or of us,
not of the events.

It stops a link from turning its whole stream into dead letters. Pure; one instance per link.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from .outcome import Refused

ALIKE_MAX: Final = 100
"""This many events running, all refused for one cause, pause the link instead of becoming dead letters."""


class Breaker:
    """Follows the run of alike refusals over the borders of batches."""

    __slots__ = ("_cause", "_run")

    def __init__(self) -> None:
        self._cause = ""
        self._run = 0

    def tripped_by(self, offsets: Iterable[int], refused: Mapping[int, Refused]) -> Refused | None:
        """The refusal that would make the run too long if this batch (its offsets in order) were settled.
        Changes nothing.
        """
        return self._follow(offsets, refused)[0] if refused else None

    def settled(self, offsets: Iterable[int], refused: Mapping[int, Refused]) -> None:
        """The batch ended like this: the run goes on behind it, or is over."""
        _, self._cause, self._run = self._follow(offsets, refused)

    def _follow(
        self, offsets: Iterable[int], refused: Mapping[int, Refused]
    ) -> tuple[Refused | None, str, int]:
        cause, run = self._cause, self._run
        tripped: Refused | None = None
        for offset in offsets:
            refusal = refused.get(offset)
            own = "" if refusal is None else _cause(refusal)
            run = run + 1 if own == cause else 1
            cause = own
            if cause and run >= ALIKE_MAX:
                tripped = refusal
        return tripped, cause, run


def _cause(refusal: Refused) -> str:
    """What is alike about refusals: their SQLSTATE, else the first words of the reason; values differ from
    row to row.
    """
    return refusal.sqlstate or refusal.reason.partition(":")[0]
