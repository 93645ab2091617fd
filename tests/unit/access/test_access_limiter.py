"""The token bucket, on a clock of the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access import RateLimit, TokenBucket

NOW_S = 1_000_000.0


def test_a_bucket_empties_and_refills() -> None:
    bucket = TokenBucket(RateLimit(10, 20))
    assert bucket.take(20, NOW_S) == 0.0
    assert bucket.take(1, NOW_S) == pytest.approx(0.1)
    assert bucket.take(5, NOW_S) == pytest.approx(0.5)
    assert bucket.take(5, NOW_S + 0.5) == 0.0
    assert bucket.take(1, NOW_S + 0.5) > 0.0


def test_a_refused_batch_costs_nothing() -> None:
    bucket = TokenBucket(RateLimit(10, 20))
    bucket.take(15, NOW_S)
    assert bucket.take(10, NOW_S) > 0.0
    assert bucket.take(5, NOW_S) == 0.0


def test_a_batch_larger_than_the_burst_needs_a_full_bucket() -> None:
    bucket = TokenBucket(RateLimit(10, 20))
    assert bucket.take(2_500, NOW_S) == 0.0
    assert bucket.take(2_500, NOW_S) == pytest.approx(2.0)
    assert bucket.take(2_500, NOW_S + 2.0) == 0.0


def test_what_the_headers_say() -> None:
    bucket = TokenBucket(RateLimit(10, 20))
    assert bucket.remaining(NOW_S) == 20
    bucket.take(15, NOW_S)
    assert bucket.remaining(NOW_S) == 5
    assert bucket.remaining(NOW_S + 9) == 20


def test_time_that_stands_still_or_goes_back_refills_nothing() -> None:
    bucket = TokenBucket(RateLimit(10, 20))
    bucket.take(20, NOW_S)
    assert bucket.take(1, NOW_S - 5) > 0.0


LIMITS = st.builds(RateLimit, st.floats(0.1, 1e6), st.integers(1, 100_000))
STEPS = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 5_000)), max_size=60)


@given(LIMITS, STEPS, st.floats(0, 1e7))
def test_never_more_than_rate_times_time_plus_burst(
    limit: RateLimit, steps: list[tuple[float, int]], start_s: float
) -> None:
    bucket = TokenBucket(limit)
    now_s, passed = start_s, 0
    for wait_s, cost in steps:
        now_s += wait_s
        if bucket.take(cost, now_s) == 0.0:
            passed += min(cost, limit.burst)
        assert passed <= limit.burst + limit.events_per_second * (now_s - start_s) * (1 + 1e-9) + 0.01


@given(LIMITS, STEPS, st.integers(1, 200_000))
def test_the_wait_is_enough_and_a_full_bucket_takes_every_batch(
    limit: RateLimit, steps: list[tuple[float, int]], cost: int
) -> None:
    bucket = TokenBucket(limit)
    now_s = NOW_S
    for wait_s, other in steps:
        now_s += wait_s
        bucket.take(other, now_s)
    wait_s = bucket.take(cost, now_s)
    if wait_s > 0:
        assert bucket.take(cost, now_s + wait_s) == 0.0
    full = TokenBucket(limit)
    full.take(steps[0][1] if steps else 1, NOW_S)
    assert full.take(cost, NOW_S + limit.burst / limit.events_per_second) == 0.0
