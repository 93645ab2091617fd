"""The table row → action of ARCHITECTURE.md, Progress, as a pure function."""

import pytest

from server.warehouse.batch import InDoubt, LocalProgress, TakeoverCase
from server.warehouse.progress import ProgressRow, decide

DOUBT = InDoubt("b7", 70)


MOVED = LocalProgress(3, 50, DOUBT, place="1/b", places=("1/a", "1/b"), frontier=60)


def row(last, batch_id="b", place="1/a"):
    return ProgressRow(3, batch_id, last, b"", f"{place}/public")


@pytest.mark.parametrize(
    ("there", "local", "case", "resume_after"),
    [
        (None, LocalProgress(0, 0), TakeoverCase.FIRST, 0),
        (None, LocalProgress(2, 50, DOUBT), TakeoverCase.ABSENT, 50),
        (row(50), LocalProgress(3, 50), TakeoverCase.EQUAL, 50),
        (row(50), LocalProgress(3, 50, DOUBT), TakeoverCase.EQUAL, 50),
        (row(70, "b7"), LocalProgress(3, 50, DOUBT), TakeoverCase.LANDED, 70),
        (row(30), LocalProgress(3, 50, DOUBT), TakeoverCase.BEHIND, 30),
        (row(0, ""), LocalProgress(3, 50), TakeoverCase.BEHIND, 0),
        (row(70), LocalProgress(3, 50), TakeoverCase.AHEAD, 50),
        (row(70, "other"), LocalProgress(3, 50, DOUBT), TakeoverCase.AHEAD, 50),
        (row(71, "b7"), LocalProgress(3, 50, DOUBT), TakeoverCase.AHEAD, 50),
    ],
)
def test_what_the_row_means(there, local, case, resume_after):
    assert decide(there, local, "1/a") == (case, resume_after)


@pytest.mark.parametrize(
    ("there", "case", "resume_after"),
    [
        (None, TakeoverCase.ABSENT, 50),
        (row(70, "b7"), TakeoverCase.LANDED, 70),
        (row(30), TakeoverCase.MOVED, 30),
        (row(60), TakeoverCase.MOVED, 60),
        (row(61), TakeoverCase.AHEAD, 50),
        (row(30, place="1/b"), TakeoverCase.BEHIND, 30),
        (row(50, place="1/b"), TakeoverCase.EQUAL, 50),
        (row(55, place="1/b"), TakeoverCase.AHEAD, 50),
        (row(30, place="1/unknown"), TakeoverCase.BEHIND, 30),
        (row(60, place="1/unknown"), TakeoverCase.MOVED, 60),
    ],
)
def test_what_the_row_of_another_database_means(there, case, resume_after):
    assert decide(there, MOVED, "1/a") == (case, resume_after)


def test_a_row_that_was_made_here_and_never_used_is_no_loss():
    assert decide(row(30, "", "1/new"), MOVED, "1/new") == (TakeoverCase.MOVED, 30)
    assert decide(row(30, "", "1/new"), MOVED, "1/copy") == (TakeoverCase.BEHIND, 30)
