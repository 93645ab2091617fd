from random import Random

from server.delivery.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    ceilings = [max(_delay(attempt, seed) for seed in range(200)) for attempt in range(8)]
    for ceiling, expected in zip(ceilings, [0.5, 1, 2, 4, 8, 16, 32, 60], strict=True):
        assert 0.8 * expected < ceiling <= expected


def test_jitter_is_full() -> None:
    assert min(_delay(7, seed) for seed in range(200)) < 3


def test_success_starts_anew() -> None:
    backoff = Backoff(0.5, 60, Random(1))
    for _ in range(9):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.5


def test_it_never_ends() -> None:
    backoff = Backoff(0.5, 60, Random(1))
    assert all(0 <= backoff.next_s() <= 60 for _ in range(5_000))


def _delay(attempt: int, seed: int) -> float:
    backoff = Backoff(0.5, 60, Random(seed))
    for _ in range(attempt):
        backoff.next_s()
    return backoff.next_s()
