"""Stays against a model that says of every single offset where it belongs."""

from hypothesis import given
from hypothesis import strategies as st

from server.delivery.stays import STAYS_MAX, Stays

MOVES = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=12)


def follow(moves: list[tuple[str, int]]) -> tuple[Stays, list[str]]:
    """Moves to each place and passes some offsets there; item n of the list is where offset n + 1 belongs."""
    stays, owners = Stays(), list[str]()
    for place, passed in moves:
        known = place in stays.places
        stays = stays.arrived(place, place if known else None, len(owners), len(owners))
        owners += [place] * passed
    return stays, owners


@given(MOVES)
def test_each_offset_belongs_where_it_was_passed(moves: list[tuple[str, int]]) -> None:
    stays, owners = follow(moves)
    read = []
    after, last = stays.own(0)
    while last is not None:
        read += list(range(after + 1, last + 1))
        after, last = stays.own(last)
    read += list(range(after + 1, len(owners) + 1))
    assert read == [at for at, owner in enumerate(owners, 1) if owner == stays.place]


@given(MOVES, st.integers(1, 36))
def test_what_is_elsewhere_and_what_is_lacking(moves: list[tuple[str, int]], at: int) -> None:
    stays, owners = follow(moves)
    before = owners[: stays.frontier]
    there = at <= len(before) and before[at - 1] != stays.place
    assert stays.elsewhere(at) == stays.released_elsewhere(at) == there
    assert stays.lacks(at) == (stays.place in before[at:])


@given(MOVES, st.sampled_from("abc"))
def test_a_copy_goes_on_with_what_its_original_had(moves: list[tuple[str, int]], original: str) -> None:
    stays, owners = follow(moves)
    if original in stays.places:
        stays = stays.arrived("copy", original, len(owners), 0)
        after, last = stays.own(0)
        assert original not in stays.places
        assert stays.place == "copy"
        assert (last is None and after == len(owners)) or owners[after] == original or after == stays.frontier


def test_places_left_long_ago_are_forgotten() -> None:
    moves = [("old", 1), *[("a", 1), ("b", 1)] * STAYS_MAX, ("a", 1)]
    stays, owners = follow(moves)
    assert len(stays.left) == STAYS_MAX
    assert "old" not in stays.places
    first, last = stays.own(0)
    assert (owners[first], last) == ("a", first + 1)
    assert first > STAYS_MAX
