"""The table row → action of ARCHITECTURE.md, Progress, as a pure function."""

import pytest

from server.warehouse.batch import InDoubt, LocalProgress, TakeoverCase
from server.warehouse.progress import ProgressRow, decide

DOUBT = InDoubt("b7", 70)


def row(last, batch_id="b"):
    return ProgressRow(3, batch_id, last, b"", "here")


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
    assert decide(there, local) == (case, resume_after)
