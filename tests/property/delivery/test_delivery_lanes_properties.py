"""Lanes against a model that is a set for each table: whatever is parked, taken, reopened and put back."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from server.clock import SystemClock
from server.delivery.lanes import PARKED_TABLE, RELEASED_TABLE, Lanes, pack, unpack
from server.delivery.stays import Stays
from storage import Store, StoreOptions

TABLES = ("a", "b", "ü")
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("park"), st.lists(st.tuples(st.sampled_from(TABLES), st.integers(1, 5)), max_size=4)
        ),
        st.tuples(st.just("take"), st.sampled_from(TABLES)),
        st.tuples(st.just("put back"), st.integers(0, 5)),
    ),
    max_size=12,
)


@given(st.lists(st.integers(1, 2**40), unique=True).map(sorted))
def test_packed_offsets_come_back(offsets: list[int]) -> None:
    assert unpack(pack(offsets)) == offsets


@settings(max_examples=25)
@given(STEPS)
def test_each_offset_is_parked_once(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), StoreOptions(free_bytes_min=0), SystemClock())
        try:
            asyncio.run(_follow(store, steps))
        finally:
            store.close()


async def _follow(store: Store, steps: list[tuple[str, object]]) -> None:
    lanes = Lanes(store.catalog, "link", 1)
    parked: dict[str, set[int]] = {table: set() for table in TABLES}
    history: list[tuple[str, set[int]]] = []  # what each release took
    last = 0
    points = [(0, 0)]  # release and last offset after each step: what a destination can be put back to
    for step, argument in steps:
        if step == "park":
            assert isinstance(argument, list)
            for table, count in argument:
                offsets = list(range(last + 1, last + 2 * count, 2))
                last = offsets[-1]
                changes = [lanes.parking(table, offsets)]
                await store.catalog.write(lanes.writes(changes))
                lanes.apply(changes)
                parked[table].update(offsets)
        elif step == "take":
            chunk = next(lanes.chunks(str(argument)), None)
            if chunk is not None:
                changes, puts = lanes.releasing(len(history) + 1, [(chunk.table, chunk.first)])
                await store.catalog.write([*puts, *lanes.writes(changes)])
                lanes.apply(changes)
                history.append((chunk.table, set(chunk.offsets)))
                parked[chunk.table] -= set(chunk.offsets)
        else:
            assert isinstance(argument, int)
            del points[max(1, len(points) - argument) :]
            release, last = points[-1]
            changes, deletes = lanes.rewinding(release, last, Stays())
            await store.catalog.write([*deletes, *lanes.writes(changes)])
            lanes.apply(changes)
            for table, offsets_taken in history[release:]:
                parked[table] |= offsets_taken
            parked = {table: {o for o in waiting if o <= last} for table, waiting in parked.items()}
            del history[release:]
        points.append((len(history), last))
        lanes = _agreed(store, lanes, parked)


def _agreed(store: Store, lanes: Lanes, parked: dict[str, set[int]]) -> Lanes:
    """Checks both what is in memory and what an open would read; gives the latter."""
    opened = Lanes(store.catalog, "link", 1)
    for one in (lanes, opened):
        found = {table: [o for chunk in one.chunks(table) for o in chunk.offsets] for table in TABLES}
        assert found == {table: sorted(waiting) for table, waiting in parked.items()}
        assert one.events == sum(map(len, parked.values()))
        assert one.first == min((o for waiting in parked.values() for o in waiting), default=None)
    for table, waiting in parked.items():
        assert all(opened.table_of(offset) == table for offset in waiting)
    assert store.catalog.scan(PARKED_TABLE, b"other") == store.catalog.scan(RELEASED_TABLE, b"other") == []
    return opened
