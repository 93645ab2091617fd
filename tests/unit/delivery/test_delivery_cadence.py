from server.delivery.cadence import Cadence


def wait_ms(cadence: Cadence, after: int, head: int, now_ms: int) -> int | None:
    return cadence.wait_ms(after, head, head - after, now_ms)


def test_nothing_waits_for_nothing() -> None:
    assert wait_ms(Cadence(1_000, 100), 7, 7, 0) is None


def test_few_events_wait_for_the_interval() -> None:
    cadence = Cadence(1_000, 100)
    assert wait_ms(cadence, 0, 1, 5_000) == 1_000
    assert wait_ms(cadence, 0, 9, 5_400) == 600
    assert wait_ms(cadence, 0, 9, 6_000) == 0


def test_a_full_batch_goes_at_once() -> None:
    assert wait_ms(Cadence(1_000, 100), 0, 100, 0) == 0


def test_a_due_time_sweeps_all_that_waited_then_and_no_more() -> None:
    cadence = Cadence(1_000, 100)
    wait_ms(cadence, 0, 50, 0)
    assert wait_ms(cadence, 0, 50, 1_000) == 0
    cadence.taken(20)  # the batch was full of bytes
    assert wait_ms(cadence, 20, 60, 1_010) == 0
    cadence.taken(50)
    assert wait_ms(cadence, 50, 60, 1_020) == 1_000


def test_a_stored_due_time_is_kept() -> None:
    assert wait_ms(Cadence(300_000, 100, due_ms=1_000), 0, 1, 900) == 100


def test_a_due_time_beyond_one_interval_is_made_anew() -> None:
    cadence = Cadence(300_000, 100, due_ms=9_000_000)
    assert wait_ms(cadence, 0, 1, 1_000) == 300_000


def test_a_stop_sweeps_what_is_committed() -> None:
    cadence = Cadence(300_000, 100)
    cadence.sweep(5)
    assert wait_ms(cadence, 0, 5, 0) == 0
    assert wait_ms(cadence, 5, 5, 0) is None
