"""Which of several places of one event gets a column, when their names are the same in snake case.

Rules: a field of the protocol wins over everything else; then what comes later in the order of the layout;
then, in one part of an event (whose keys have no order), the path that sorts last. What loses is kept: it
goes, with all that is below it, under its path into `_unmapped_data`, unless the column says the very same
(clients repeat traits and names). Columns that the server answers for (stamps.py) take nothing but their
field. Pure; any thread.
"""

from collections.abc import Mapping

from server.warehouse import Value, aside_name

from .columns import OBJECT, Collision, Place

Rivals = Mapping[str, str]
"""Name of a value kept aside → the column that it would have had."""


def column_of(place: Place) -> str:
    """Names for the short way: the column. Raises Collision for a column that is not for this place."""
    if place.barred:
        raise Collision
    return place.column


class Claim(str):
    """Name of a place for the long way, different for each: what its value is called if it is kept aside."""

    __slots__ = ("place",)
    place: Place


def claim_of(place: Place) -> str:
    """Names for the long way."""
    claim = Claim(aside_name(place.path))
    claim.place = place
    return claim


def settle(claims: dict[str, Value]) -> tuple[dict[str, Value], Rivals]:
    """The row: every value under its column, or under its path if another place has that column.

    `claims` is what flattening by `claim_of` gave, in its order: what is below an object follows it.
    """
    best = _winners(claims)
    row: dict[str, Value] = {}
    rivals: dict[str, str] = {}
    lost = "\0"
    for claim, value in claims.items():
        place = _place_of(claim)
        winner = best.get(place.column)
        if not place.path.startswith(lost):
            if claim == winner:
                row[place.column] = value
                continue
            if winner is not None and _together(place, value, winner, claims):
                continue
            if value is OBJECT:
                lost = place.path + "/"
        row[str(claim)] = value
        rivals[str(claim)] = place.column
    return row, rivals


def is_repeated(value: Value, told: Value) -> bool:
    """Whether a value that lost says nothing that the column does not say."""
    return type(value) is type(told) and value == told


def _winners(claims: dict[str, Value]) -> dict[str, str]:
    """The claim that gets each column."""
    best: dict[str, str] = {}
    for claim in claims:
        place = _place_of(claim)
        if not place.barred:
            other = best.get(place.column)
            if other is None or _rank(place) > _rank(_place_of(other)):
                best[place.column] = claim
    return best


def _rank(place: Place) -> tuple[bool, int, str]:
    return place.own, place.source, place.path


def _together(place: Place, value: Value, winner: str, claims: dict[str, Value]) -> bool:
    """Whether both are objects of one part of the event: they share a prefix, and take nothing away."""
    return value is OBJECT and claims[winner] is OBJECT and _place_of(winner).source == place.source


def _place_of(claim: str) -> Place:
    assert isinstance(claim, Claim), "all names of the long way are"
    return claim.place
