"""What the progress row of the former store says, case by case (server/delivery/inheritance.py)."""

import pytest
from msgspec.structs import replace

from server.delivery import outcome as outcomes
from server.delivery.checkpoint import Checkpoint, Intent
from server.delivery.inheritance import inheritance
from server.delivery.outcome import Outcome
from server.delivery.stays import Stay, Stays
from server.warehouse import Inherited

HEAD = 100
KNOWN = Checkpoint(1, 1, epoch=3, last=50, release=2, left_out=7)
AT_B = replace(KNOWN, stays=Stays("b", (Stay("a", 30, 1),)))


def row(
    last: int, *, release: int = 2, left_out: int = 7, batch_id: str = "x", place: str = "a"
) -> Inherited:
    outcome = outcomes.encode(Outcome(1, release=release, left_out=left_out))
    return Inherited("former", last, batch_id, outcome, "a", place)


@pytest.mark.parametrize(
    ("found", "after", "release", "warning"),
    [
        (row(50), 50, 2, False),
        (row(80), 80, 2, False),
        (row(HEAD + 1), HEAD, 2, False),
        (row(40), 40, 2, True),
        (row(50, release=1), 50, 1, True),
        (row(80, left_out=8), 50, 2, True),
        (row(50, release=3), 50, 2, True),
        (row(80, release=3), 50, 2, True),
        (Inherited("former", 50, "", b"", "a", "a"), 50, 2, False),
        (Inherited("former", 60, "", b"", "a", "a"), 60, 2, False),
    ],
    ids=[
        "equal",
        "further",
        "beyond the backup",
        "behind",
        "fewer lanes delivered",
        "left something out",
        "delivered a lane",
        "further, and a lane",
        "no batch yet",
        "began later, no batch yet",
    ],
)
def test_where_to_go_on(found: Inherited, after: int, release: int, warning: bool) -> None:
    taken = inheritance(found, KNOWN, HEAD)
    assert (taken.after, taken.release, taken.warning, taken.landed) == (after, release, warning, None)
    assert "store former" in taken.words


@pytest.mark.parametrize(
    ("found", "after", "left", "warning"),
    [
        (row(30, release=1), 30, ("a", "b"), False),
        (row(20, release=1), 20, ("a", "b"), True),
        (row(80), 80, ("a", "b"), False),
        (row(20, place="elsewhere"), 20, (), True),
        (row(50, place="b"), 50, ("a",), False),
    ],
    ids=["left it", "left it, put back since", "went back after the backup", "of nobody", "a dump of b"],
)
def test_the_backup_was_made_at_another_database(
    found: Inherited, after: int, left: tuple[str, ...], warning: bool
) -> None:
    taken = inheritance(found, AT_B, HEAD)
    assert (taken.after, taken.warning, taken.stays.place) == (after, warning, "a")
    assert tuple(stay.place for stay in taken.stays.left) == left


def test_the_batch_in_doubt_landed() -> None:
    known = Checkpoint(1, 1, last=50, in_doubt=Intent("b", 50, 60))
    taken = inheritance(row(60, batch_id="b", release=0, left_out=1), known, HEAD)
    assert (taken.after, taken.warning) == (60, False)
    assert taken.landed is not None
    assert taken.landed.left_out == 1


def test_a_link_that_the_backup_does_not_know_and_a_stream_it_has_no_event_of() -> None:
    fresh = Checkpoint(1, 1)
    assert inheritance(row(60, release=0, left_out=0), fresh, HEAD).after == 60
    assert inheritance(row(60, release=0, left_out=0), fresh, 0).after == 0
