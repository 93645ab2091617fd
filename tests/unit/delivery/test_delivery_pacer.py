import asyncio
import time

from server.delivery.pacer import PAUSE_S_MAX, REST_S, SHARED_EVENTS_MAX, SLICE_S, Pacer, no_pressure


async def spend(pacer: Pacer, slices: int, seen: list[str], name: str) -> None:
    async with pacer.turn() as turn:
        for _ in range(slices):
            while not turn.spent:
                pass
            seen.append(name)
            await turn.breathe()


async def test_turns_go_round() -> None:
    pacer, seen = Pacer(no_pressure), list[str]()
    await asyncio.gather(*(spend(pacer, 3, seen, name) for name in "abc"))
    assert "".join(seen) == "abcabcabc"


async def test_a_slice_ends() -> None:
    async with Pacer(no_pressure).turn() as turn:
        began_s = time.perf_counter()
        while not turn.spent:
            pass
        assert time.perf_counter() - began_s >= SLICE_S * 0.9


async def test_pressure_makes_it_pause() -> None:
    async with Pacer(lambda: 1.0).turn() as turn:
        began_s = time.perf_counter()
        await turn.breathe()
        assert time.perf_counter() - began_s >= PAUSE_S_MAX * 0.9


async def test_cancelled_while_waiting_for_its_turn_it_takes_nobody_elses() -> None:
    pacer = Pacer(no_pressure)
    async with pacer.turn() as turn:
        other = asyncio.create_task(pacer.turn().__aenter__())
        breathing = asyncio.create_task(turn.breathe())
        other_turn = await other
        breathing.cancel()
        await asyncio.gather(breathing, return_exceptions=True)
        assert breathing.cancelled()
    assert pacer._lock.locked()
    await other_turn.__aexit__()
    assert not pacer._lock.locked()


async def test_while_events_are_taken_in_the_loop_idles_between_slices() -> None:
    pacer = Pacer(no_pressure)
    pacer.committed()
    async with pacer.turn() as turn:
        began_s = time.perf_counter()
        await turn.breathe()
        assert time.perf_counter() - began_s >= REST_S * 0.5


async def test_while_events_are_taken_in_batches_are_small() -> None:
    pacer = Pacer(no_pressure)
    assert pacer.batch_events(10_000) == 10_000
    pacer.committed()
    assert pacer.batch_events(10_000) == SHARED_EVENTS_MAX
    assert pacer.batch_events(10) == 10


async def test_rest_gives_way_only_when_the_slice_is_spent() -> None:
    async with Pacer(lambda: 1.0).turn() as turn:
        began_s = time.perf_counter()
        await turn.rest()
        assert time.perf_counter() - began_s < PAUSE_S_MAX
        while not turn.spent:
            pass
        await turn.rest()
        assert time.perf_counter() - began_s >= PAUSE_S_MAX * 0.9
