from server.delivery.breaker import ALIKE_MAX, Breaker
from server.delivery.outcome import Refused


def refusals(offsets: range, sqlstate: str = "22P02") -> dict[int, Refused]:
    return {offset: Refused(offset, f"row {offset} does not fit", sqlstate) for offset in offsets}


def test_many_alike_running_trip_it() -> None:
    refused = refusals(range(50, 50 + ALIKE_MAX))
    tripped = Breaker().tripped_by(range(1, 1000), refused)
    assert tripped is not None
    assert tripped.sqlstate == "22P02"


def test_one_less_does_not() -> None:
    assert Breaker().tripped_by(range(1, 1000), refusals(range(50, 49 + ALIKE_MAX))) is None


def test_a_delivered_event_between_them_ends_the_run() -> None:
    refused = refusals(range(1, 2 * ALIKE_MAX - 1))
    del refused[ALIKE_MAX - 1]
    assert Breaker().tripped_by(range(1, 1000), refused) is None


def test_different_causes_are_not_alike() -> None:
    refused = {offset: Refused(offset, "x", "22P02" if offset % 2 else "23502") for offset in range(1, 500)}
    assert Breaker().tripped_by(range(1, 500), refused) is None


def test_the_run_goes_on_over_the_border_of_batches() -> None:
    breaker = Breaker()
    half = ALIKE_MAX // 2
    breaker.settled(range(1, half + 1), refusals(range(1, half + 1)))
    assert breaker.tripped_by(range(half + 1, 200), refusals(range(half + 1, ALIKE_MAX + 1)))


def test_asking_changes_nothing() -> None:
    breaker = Breaker()
    for _ in range(3):
        assert breaker.tripped_by(range(1, 51), refusals(range(1, 51))) is None


def test_undecodable_events_are_alike_by_the_start_of_their_reason() -> None:
    refused = {o: Refused(o, f"cannot be decoded: {o}") for o in range(1, ALIKE_MAX + 1)}
    assert Breaker().tripped_by(range(1, 300), refused)
