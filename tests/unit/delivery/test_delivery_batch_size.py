"""How many events a batch may have."""

from server.delivery.batch_size import BatchSize


def test_a_batch_that_took_too_long_is_halved_down_to_one_event() -> None:
    size = BatchSize(10_000)
    tried = [10_000]
    while size.too_slow(tried[-1]):
        tried.append(size.events_max)
    assert tried == [10_000, 5_000, 2_500, 1_250, 625, 312, 156, 78, 39, 19, 9, 4, 2, 1]
    assert size.events_max == 1


def test_full_batches_that_land_let_it_grow_slowly_up_to_what_is_configured() -> None:
    size = BatchSize(1_000)
    size.too_slow(200)
    landed = 0
    while size.events_max < 200:
        size.landed(size.events_max)
        landed += 1
    assert landed > 8
    for _ in range(100):
        size.landed(size.events_max)
    assert size.events_max == 1_000


def test_a_batch_that_was_not_full_says_nothing_about_larger_ones() -> None:
    size = BatchSize(1_000)
    size.too_slow(200)
    size.landed(99)
    assert size.events_max == 100
