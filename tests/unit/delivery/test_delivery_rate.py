"""Events per second lately."""

from server.delivery.rate import WINDOW_S, Rate


def test_a_rate_is_that_of_the_window() -> None:
    rate = Rate()
    for tenth in range(WINDOW_S * 10):
        rate.add(100 + tenth / 10, 5)
    assert rate.per_s(100 + WINDOW_S - 0.1) == 50


def test_what_was_long_ago_does_not_count() -> None:
    rate = Rate()
    rate.add(100.0, 3_000)
    assert rate.per_s(100.0) == 3_000 / WINDOW_S
    assert rate.per_s(100.0 + WINDOW_S) == 0
