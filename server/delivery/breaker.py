"""The breaker: many events that fail for one cause are the fault of the destination or ours, not theirs.

It stops a link from turning its stream into dead letters. Pure; one instance per link.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from .outcome import Refused

ALIKE_MAX: Final = 100
AMONG: Final = 1_000
"""This many events refused for one cause among so many pause the link instead of becoming dead letters."""


class Breaker:
    """Follows alike refusals over the borders of batches. Events are counted, for offsets leap."""

    __slots__ = ("_passed", "_seen")

    def __init__(self) -> None:
        self._passed = 0
        self._seen: dict[str, deque[int]] = {}

    def tripped_by(self, offsets: Sequence[int], refused: Mapping[int, Refused]) -> Refused | None:
        """The refusal that would be one too many if this batch (its offsets in order) were settled. Changes
        nothing.
        """
        return self._follow(offsets, refused)[0] if refused else None

    def settled(self, offsets: Sequence[int], refused: Mapping[int, Refused]) -> None:
        """The batch ended like this."""
        _, seen = self._follow(offsets, refused)
        self._passed += len(offsets)
        self._seen = {cause: latest for cause, latest in seen.items() if self._passed - latest[-1] < AMONG}

    def _follow(
        self, offsets: Sequence[int], refused: Mapping[int, Refused]
    ) -> tuple[Refused | None, dict[str, deque[int]]]:
        """Of each cause, which events were the latest ones refused."""
        seen = {cause: latest.copy() for cause, latest in self._seen.items()}
        tripped: Refused | None = None
        for event, offset in enumerate(offsets if refused else (), self._passed + 1):
            refusal = refused.get(offset)
            if refusal is not None:
                latest = seen.setdefault(_cause(refusal), deque(maxlen=ALIKE_MAX))
                latest.append(event)
                if len(latest) == ALIKE_MAX and event - latest[0] < AMONG:
                    tripped = refusal
        return tripped, seen


def _cause(refusal: Refused) -> str:
    """What is alike about refusals: their SQLSTATE, else the first words of the reason; values differ from
    row to row.
    """
    return refusal.sqlstate or refusal.reason.partition(":")[0]
