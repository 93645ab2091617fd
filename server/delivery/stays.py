"""At which databases a link has been: whose every event is, so that a move is not taken for a loss. Pure.

A checkpoint is one for all databases, a progress row is one for each. A row that is behind the checkpoint may
mean that its database was put back to an older copy, or only that the link was elsewhere meanwhile: what was
delivered elsewhere is not missing here. So the checkpoint remembers its stays. An event belongs to the
database of the stay in which the link passed it; a batch of parked events (its *release*) likewise.

A *place* names a database (server/warehouse: system identifier and name), whatever host it is reached by. A
database that holds the progress row of another place continues it: it was restored from its dump, or renamed.
"""

from typing import Final

import msgspec

STAYS_MAX: Final = 64
"""A place that was left so many moves ago is forgotten: a row found there means what it did before."""
_FORGOTTEN: Final = ""


class Stay(msgspec.Struct, frozen=True, array_like=True):
    """A stay that is over: the offset and release at which the link left. It began with the one before."""

    place: str
    last: int
    release: int


class Stays(msgspec.Struct, frozen=True, array_like=True):
    """Where the link is now ("" = not known yet), and where it was before, oldest first. `passed`: how far it
    had come here when its database was put back, 0 if it was not.
    """

    place: str = ""
    left: tuple[Stay, ...] = ()
    passed: int = 0

    @property
    def frontier(self) -> int:
        """Everything up to this offset is of a stay that is known."""
        return max(self.passed, self.left[-1].last) if self.left else self.passed

    @property
    def places(self) -> frozenset[str]:
        """Every place that is remembered, the one of now included; empty while none is known."""
        return frozenset({self.place, *(stay.place for stay in self.left)} - {_FORGOTTEN})

    def own(self, after: int) -> tuple[int, int | None]:
        """The next events behind `after` that belong here are those in (first, last]; None = no end."""
        for stay in self.left:
            if stay.last > after:
                if stay.place == self.place:
                    return after, stay.last
                after = stay.last
        return after, None

    def lacks(self, after: int) -> bool:
        """Whether a database with everything up to `after` lost something that it had when it was left."""
        first, _ = self.own(after)
        return first < self.frontier

    def elsewhere(self, offset: int) -> bool:
        """Whether the event belongs to another place."""
        return self.own(offset - 1)[0] >= offset

    def released_elsewhere(self, release: int) -> bool:
        """Whether that batch of parked events landed at another place."""
        stay = next((stay for stay in self.left if release <= stay.release), None)
        return stay is not None and stay.place != self.place

    def arrived(self, here: str, row_place: str | None, last: int, release: int) -> "Stays":
        """The link, which stood at `last` and `release`, is at `here` now, where it found a progress row of
        `row_place` (None = no row).
        """
        left, passed = self.left, max(last, self.passed)
        if self.place and self.place != (here if row_place is None else row_place):
            left, passed = (*left, Stay(self.place, max(last, self.frontier), release)), 0
        if row_place not in (None, here):
            left = tuple(msgspec.structs.replace(s, place=here) if s.place == row_place else s for s in left)
        return Stays(here, _shortened(left), passed)


def _shortened(left: tuple[Stay, ...]) -> tuple[Stay, ...]:
    """At most STAYS_MAX stays; what was passed in those before is of nobody."""
    if len(left) <= STAYS_MAX:
        return left
    oldest = msgspec.structs.replace(left[-STAYS_MAX], place=_FORGOTTEN)
    return (oldest, *left[1 - STAYS_MAX :])
