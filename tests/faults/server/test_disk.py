"""The disk fills up, a block of the log is damaged, an fsync fails, an old copy comes back, two processes
want one directory.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path

from tests.faults.server.conftest import StartFunction
from tests.running import Sender, delivered, eventually, track


def _fill(disk: Path) -> Path:
    """A file that takes what is left of the file system."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    return filler


def test_a_full_disk_is_503_with_retry_after_and_recovers(
    make_server: StartFunction, database: str, small_disk: Path
) -> None:
    server = make_server(database, data=small_disk / "data", store={"free_bytes_min": 8_000_000}).start()
    assert server.post("/v1/track", track("before")).status == 200
    filler = _fill(small_disk)
    refused = eventually(
        lambda: (answer := server.post("/v1/track", track("full"))).status == 503 and answer,
        "503 on a full disk",
    )
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json["code"] == "store_full"
    assert server.request("GET", "/ready").status == 503
    filler.unlink()
    eventually(lambda: server.post("/v1/track", track("after")).status == 200, "events are taken again")
    server.drained()
    assert {"before", "after"} <= set(delivered(database))
    assert server.stop() == 0


async def test_enospc_in_the_middle_of_a_load_loses_nothing(
    make_server: StartFunction, database: str, small_disk: Path
) -> None:
    # Without a floor the log itself runs into the end of the disk.
    server = make_server(database, data=small_disk / "data", store={"free_bytes_min": 0})
    await asyncio.to_thread(server.start)
    sender = Sender(server.port)
    filler = _fill(small_disk)
    sending = asyncio.create_task(sender.send(f"e{i}" for i in range(2_000)))
    await asyncio.to_thread(eventually, lambda: sender.statuses.get(503), "a 503")
    filler.unlink()
    await sending
    await asyncio.to_thread(server.drained)
    assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
    assert await asyncio.to_thread(server.stop) == 0


def _damage(data: Path, marker: bytes) -> None:
    """Flip one bit in every copy of `marker` in the log."""
    hits = 0
    for segment in sorted((data / "wal").glob("*.lmdb")):
        content = bytearray(segment.read_bytes())
        position = content.find(marker)
        while position >= 0:
            content[position] ^= 1
            hits += 1
            position = content.find(marker, position + 1)
        segment.write_bytes(content)
    assert hits


def test_a_damaged_block_is_a_counted_hole_and_the_rest_arrives(
    make_server: StartFunction, database: str, tmp_path: Path
) -> None:
    server = make_server(None).start()
    for i in range(20):
        assert server.post("/v1/track", track(f"good{i}")).status == 200
    assert server.post("/v1/track", track("bad", marker="damage-me-here")).status == 200
    assert server.post("/v1/track", track("last")).status == 200
    assert server.stop() == 0
    _damage(tmp_path / "data", b"damage-me-here")
    linked = make_server(database, data=tmp_path / "data").start()
    linked.drained()
    assert sorted(delivered(database)) == sorted([*(f"good{i}" for i in range(20)), "last"])
    assert linked.metric("penstock_wal_holes") == 1
    assert linked.stop() == 0


def test_two_processes_on_one_directory(make_server: StartFunction, tmp_path: Path) -> None:
    first = make_server(None).start()
    second = make_server(None, data=tmp_path / "data")
    second.spawn()
    assert second.process is not None
    assert second.process.wait(20) != 0
    assert first.process is not None
    assert f"process {first.process.pid} has it open" in second.log
    assert first.post("/v1/track", track("still")).status == 200
    assert first.stop() == 0


def test_an_old_copy_of_the_store_takes_nothing_new_for_delivered(
    make_server: StartFunction, database: str, tmp_path: Path
) -> None:
    server = make_server(database).start()
    first = [f"first{i}" for i in range(50)]
    for message_id in first:
        assert server.post("/v1/track", track(message_id)).status == 200
    server.drained()
    assert server.stop() == 0
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    server.start()
    second = [f"second{i}" for i in range(50)]
    for message_id in second:
        assert server.post("/v1/track", track(message_id)).status == 200
    server.drained()
    assert server.stop() == 0
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "copy", tmp_path / "data")
    server.start()
    third = [f"third{i}" for i in range(50)]
    for message_id in third:
        assert server.post("/v1/track", track(message_id)).status == 200
    server.drained()
    assert sorted(delivered(database)) == sorted(first + second + third)
    assert server.stop() == 0
