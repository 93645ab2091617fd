"""Finding events: by id, by position, the newest."""

from pathlib import Path

from storage import Position
from tests.unit.storage.workbench import SMALL, ManualClock, fill, items, opened, put


async def test_an_event_is_located_in_the_open_and_in_sealed_segments(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        last = await fill(store, 3) - 1
        sent = items(store)
        for id_hash in (1, last):
            (position,) = store.wal.locate(id_hash)
            found = store.wal.get(position)
            assert found is not None
            assert (found.item, found.stream, found.offset) == (sent[id_hash - 1], "site", position.offset)
        assert store.wal.locate(last + 1) == []


async def test_an_event_is_located_though_the_sidecar_of_its_segment_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        last = await fill(store, 3) - 1
        sidecars = sorted((tmp_path / "wal").glob("*.ids"))
        before = [sidecar.read_bytes() for sidecar in sidecars]
        for sidecar in sidecars:
            sidecar.unlink()
        assert len(sidecars) == 2
        assert all(len(store.wal.locate(id_hash)) == 1 for id_hash in range(1, last + 1))
        assert [sidecar.read_bytes() for sidecar in sidecars] == before


async def test_an_event_is_located_though_the_sidecar_could_not_be_written(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        (tmp_path / "wal" / "0000000001.ids").mkdir()
        await fill(store, 2)
        assert len(store.wal.locate(1)) == 1


async def test_ids_of_several_streams_are_told_apart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(6):
            await put(store, [b"%d" % number], [number], f"stream {number % 3}")
        found = [store.wal.get(*store.wal.locate(number)) for number in range(6)]
        assert [(event.stream, event.item) for event in found if event] == [
            (f"stream {number % 3}", b"%d" % number) for number in range(6)
        ]


async def test_an_id_is_not_found_across_two_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"a", b"b"], [0x0102030405060708, 0x1112131415161718])
        assert store.wal.locate(0x1516171801020304) == store.wal.locate(0x0506070815161718) == []
        assert len(store.wal.locate(0x1112131415161718)) == 1


async def test_the_tail_is_the_newest_of_all_streams(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock, segment_bytes=SMALL) as store:
        last = await fill(store, 3)
        clock.advance(1)
        await put(store, [b"one"], [last], "other")
        await put(store, [b"two"], [last + 1])
        assert [event.item for event in store.wal.tail("site", 1)] == [b"two"]
        assert {event.item for event in store.wal.tail(None, 2)} == {b"one", b"two"}
        sent = [event.item for event in store.wal.tail("site", 1_000)]
        assert sent == items(store)
        assert store.wal.tail("unknown", 5) == store.wal.tail(None, 0) == []


async def test_a_position_that_is_not_there_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, [b"one"], [1])
        assert store.wal.get(Position("site", 5)) is None
        assert store.wal.get(Position("site", store.wal.head("site") + 1)) is None


async def test_the_backlog_is_what_is_retained_behind_an_offset(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=SMALL) as store:
        count = await fill(store, 3) - 1
        first, head = store.wal.first("site"), store.wal.head("site")
        assert first is not None
        backlogs = [store.wal.backlog("site", after) for after in (0, first, head)]
        assert [backlog.events for backlog in backlogs] == [count, count - 1, 0]
        assert backlogs[0].size_bytes > backlogs[1].size_bytes > backlogs[2].size_bytes == 0
        assert store.wal.backlog("unknown", 0).events == 0
