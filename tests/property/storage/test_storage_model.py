"""A list against the WAL: the same events whatever the order of appends, repeats, reads, trims, closes and
crashes.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage import Store, StoreOptions
from tests.unit.storage.workbench import SMALL, ManualClock, put

STREAMS = ("site", "shop")
OPTIONS = StoreOptions(segment_bytes=SMALL, free_bytes_min=0, retention_s=0, trim_lag_s=0)

Events = list[tuple[int, int, bytes]]


class WalMachine(RuleBasedStateMachine):
    """`events` is the model: (offset, id, bytes) per stream, in order; `known` the ids taken since ever."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.opens = 0
        self.events: dict[str, Events] = {stream: [] for stream in STREAMS}
        self.known: set[int] = set()
        self.highest: dict[str, int] = dict.fromkeys(STREAMS, 0)

    @initialize()
    def open(self) -> None:
        self.path = self.folder / "0"
        self.store = Store.open(self.path, OPTIONS, self.clock)

    def teardown(self) -> None:
        self.store.close()
        self.loop.close()
        shutil.rmtree(self.folder)

    @rule(
        stream=st.sampled_from(STREAMS),
        ids=st.lists(st.integers(0, 60), min_size=1, max_size=8),
        size=st.sampled_from([0, 3, 700, 5_000, 20_000]),
    )
    def append(self, stream: str, ids: list[int], size: int) -> None:
        ids = [2 * number + STREAMS.index(stream) for number in ids]
        bodies = [b"%d " % number + bytes([number]) * size for number in ids]
        appended = self.loop.run_until_complete(put(self.store, bodies, ids, stream))
        new = [number for number in dict.fromkeys(ids) if number not in self.known]
        assert (appended.accepted, appended.duplicates) == (len(new), len(ids) - len(new))
        self.known.update(new)
        if new:
            self._taken(stream, [(number, bodies[ids.index(number)]) for number in new])

    def _taken(self, stream: str, new: list[tuple[int, bytes]]) -> None:
        first = self.store.wal.head(stream) - len(new) + 1
        assert first > self.highest[stream], "an offset was issued twice"
        self.events[stream] += [(first + at, number, body) for at, (number, body) in enumerate(new)]
        self.highest[stream] = first + len(new) - 1

    @rule(
        stream=st.sampled_from(STREAMS),
        skip=st.integers(0, 30),
        count=st.integers(1, 9),
        size=st.integers(1, 9_000),
    )
    def read(self, stream: str, skip: int, count: int, size: int) -> None:
        events = self.events[stream]
        after = events[min(skip, len(events) - 1)][0] if events else self.highest[stream]
        chunk = self.store.wal.read(stream, after, size, count)
        found = [
            (group.first_offset + at, item) for group in chunk.groups for at, item in enumerate(group.items)
        ]
        behind = [(offset, body) for offset, _, body in events if offset > after]
        assert found == behind[: len(found)]
        assert len(found) >= min(1, len(behind))
        assert not chunk.holes
        assert chunk.last == (
            found[-1][0] if found and len(found) < len(behind) else max(after, self.highest[stream])
        )

    @rule(number=st.integers(0, 121))
    def locate(self, number: int) -> None:
        where = [
            (stream, offset) for stream in STREAMS for offset, id_, _ in self.events[stream] if id_ == number
        ]
        assert [(found.stream, found.offset) for found in self.store.wal.locate(number)] == where

    @rule(kept=st.integers(0, 12))
    def trim(self, kept: int) -> None:
        keep = {stream: events[-kept - 1][0] for stream, events in self.events.items() if len(events) > kept}
        self.store.wal.trim({stream: keep.get(stream, 0) for stream in STREAMS})
        for stream, events in self.events.items():
            first = self.store.wal.first(stream)
            gone = [event for event in events if first is None or event[0] < first]
            assert all(offset <= keep.get(stream, 0) for offset, _, _ in gone)
            self.events[stream] = events[len(gone) :]

    @rule(seconds=st.integers(0, 100))
    def reopen(self, seconds: int) -> None:
        self.store.close()
        self._open_again(self.path, seconds)

    @rule(seconds=st.integers(0, 100))
    def crash(self, seconds: int) -> None:
        self.opens += 1
        path = self.folder / str(self.opens)
        shutil.copytree(self.path, path)
        self.store.close()
        self._open_again(path, seconds)

    def _open_again(self, path: Path, seconds: int) -> None:
        """The ids of trimmed events are forgotten by a new start."""
        self.clock.advance(seconds)
        self.path = path
        self.store = Store.open(path, OPTIONS, self.clock)
        self.known = {number for events in self.events.values() for _, number, _ in events}

    @invariant()
    def heads_are_the_last_offsets(self) -> None:
        if hasattr(self, "store"):
            assert {stream: self.store.wal.head(stream) for stream in STREAMS} == self.highest
            assert self.store.poisoned is None


TestWal = WalMachine.TestCase
TestWal.settings = settings(max_examples=25, stateful_step_count=25)
