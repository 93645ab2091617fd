"""Power failures: whatever the disk did with what was not synced, every acknowledged event is there, once and
whole.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from server.clock import SystemClock
from storage import Append, Store
from tests.faults.images.appender import (
    AHEAD_SEGMENTS,
    EVENTS,
    SMALL_SEGMENTS,
    STREAMS,
    event_bytes,
    options,
)
from tests.faults.images.disk_model import DiskModel
from tests.faults.shim import Op, Operation, build_shim, read_log, shim_environment

IMAGES = 24


def _record(tmp_path_factory: pytest.TempPathFactory, segment_bytes: int) -> tuple[Path, list[Operation]]:
    folder = tmp_path_factory.mktemp("recording")
    root = folder / "root"
    root.mkdir()
    environment = os.environ | shim_environment(build_shim(folder), root, log=folder / "log")
    command = [sys.executable, "-m", "tests.faults.images.appender", str(root), str(segment_bytes)]
    subprocess.run(command, check=True, env=environment, timeout=60)
    return root, read_log(folder / "log")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Operation]]:
    """The operations of a run of the appender, and the folder it ran in."""
    return _record(tmp_path_factory, SMALL_SEGMENTS)


@pytest.fixture(scope="module")
def recording_ahead(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Operation]]:
    """The same with a segment that was made ahead."""
    return _record(tmp_path_factory, AHEAD_SEGMENTS)


def test_the_recording_has_syncs_and_rotations(recording: tuple[Path, list[Operation]]) -> None:
    operations = recording[1]
    assert sum(operation.op is Op.SYNC for operation in operations) > EVENTS / 10
    assert (
        sum(operation.op is Op.RENAME and operation.data.endswith(b".lmdb") for operation in operations) > 3
    )


def test_every_image_has_what_was_acknowledged(
    recording: tuple[Path, list[Operation]], tmp_path: Path
) -> None:
    _replay(*recording, tmp_path, SMALL_SEGMENTS, 0)


def test_every_image_of_a_segment_made_ahead(
    recording_ahead: tuple[Path, list[Operation]], tmp_path: Path
) -> None:
    root, operations = recording_ahead
    made = [number for number, done in enumerate(operations) if done.path.endswith("/blank.tmp")]
    assert [operations[number].op for number in made].count(Op.RENAME) == 1
    _replay(root, operations, tmp_path, AHEAD_SEGMENTS, made[0])


def _replay(root: Path, operations: list[Operation], images: Path, segment_bytes: int, since: int) -> None:
    """Power failures at random operations behind `since`, and at the end."""
    random = Random(20_000)
    cuts = [*sorted(random.sample(range(since, len(operations)), IMAGES - 1)), len(operations)]
    model = DiskModel(root)
    acknowledged: list[str] = []
    done = 0
    for cut in cuts:
        for operation in operations[done:cut]:
            model.apply(operation)
            if operation.op is Op.WRITE and operation.path.endswith("/acknowledged"):
                acknowledged += operation.data.decode().split()
        done = cut
        image = images / f"image-{cut}"
        model.write_image(image, random)
        asyncio.run(_check(image / "store", segment_bytes, acknowledged, f"cut {cut}"))


async def _check(path: Path, segment_bytes: int, acknowledged: list[str], where: str) -> None:
    store = Store.open(path, options(segment_bytes), SystemClock())
    found = [number for stream in STREAMS for number in _numbers(store, stream)]
    assert len(found) == len(set(found)), where
    wanted = {int(text) for text in acknowledged if text != "catalog"}
    assert wanted <= set(found), where
    assert ("catalog" not in acknowledged) or store.catalog.get("facts", b"written") == b"yes", where
    for stream, parity in zip(STREAMS, (0, 1), strict=True):
        for first in range(parity, EVENTS, 60):
            numbers = list(range(first, first + 60, 2))
            appended = store.wal.append(
                Append(stream, b"", [event_bytes(number) for number in numbers], numbers)
            )
            await appended.durable()
            # Every id of an event that is there is known, and no other.
            assert appended.duplicates == len(set(found) & set(numbers)), where
    assert sorted(number for stream in STREAMS for number in _numbers(store, stream)) == list(
        range(EVENTS)
    ), where
    store.close()


def _numbers(store: Store, stream: str) -> list[int]:
    """The numbers of all events of a stream, each checked to be what was sent."""
    numbers = []
    after = 0
    while (chunk := store.wal.read(stream, after, 1 << 20, 500)).last > after:
        assert chunk.holes == []
        for group in chunk.groups:
            for item in group.items:
                number = int(item.split()[1])
                assert item == event_bytes(number)
                numbers.append(number)
        after = chunk.last
    return numbers
