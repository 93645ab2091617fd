"""Records come back as they were; breaker and cadence hold against plain counts."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from server.delivery.breaker import ALIKE_MAX, Breaker
from server.delivery.cadence import Cadence
from server.delivery.outcome import Dropped, Outcome, Refused, decode, encode

OFFSETS = st.integers(1, 2**63 - 1)
REFUSED = st.builds(Refused, OFFSETS, st.text(), st.text(max_size=5))
DROPPED = st.builds(Dropped, OFFSETS, OFFSETS, st.text())


@given(st.integers(0), st.lists(REFUSED).map(tuple), st.lists(DROPPED).map(tuple))
def test_an_outcome_comes_back(
    delivered: int, refused: tuple[Refused, ...], dropped: tuple[Dropped, ...]
) -> None:
    outcome = Outcome(min(delivered, 2**63), refused, dropped)
    assert decode(encode(outcome)) == outcome


RUNS = st.lists(st.tuples(st.sampled_from(["", "22P02", "23514"]), st.integers(1, 150)), max_size=6)


@given(RUNS, st.integers(1, 400))
def test_the_breaker_trips_where_a_run_is_too_long(runs: list[tuple[str, int]], batch_events: int) -> None:
    """Settling batch after batch, it trips before any cause ran ALIKE_MAX times, and only then."""
    causes = [cause for cause, length in runs for _ in range(length)]
    longest = max((len(list(run)) for cause, run in groupby(causes) if cause), default=0)
    breaker, tripped = Breaker(), False
    for at in range(0, len(causes), batch_events):
        offsets = range(at, min(at + batch_events, len(causes)))
        refused = {offset: Refused(offset, "why", causes[offset]) for offset in offsets if causes[offset]}
        tripped = tripped or breaker.tripped_by(offsets, refused) is not None
        breaker.settled(offsets, refused)
    assert tripped == (longest >= ALIKE_MAX)


STEPS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 2_000)), max_size=40)


@given(STEPS)
def test_nothing_waits_longer_than_the_interval(steps: list[tuple[int, int]]) -> None:
    """However commits come, a waiting event is flushed at most one interval after it was noticed."""
    cadence, after, head, now_ms = Cadence(1_000, 100), 0, 0, 0
    waits_since: int | None = None
    for committed, passed_ms in steps:
        head += committed
        wait = cadence.wait_ms(after, head, head - after, now_ms)
        if wait is not None and waits_since is None:
            waits_since = now_ms
        if wait is not None and waits_since is not None:
            assert wait <= max(0, waits_since + 1_000 - now_ms)
        if wait == 0:
            after, waits_since = head, None
            cadence.taken(after)
        now_ms += min(passed_ms, wait) if wait else passed_ms
