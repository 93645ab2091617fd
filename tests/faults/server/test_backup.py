"""A server under load is backed up; what is restored has all that was acknowledged before, and delivers it
once.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from server.management.secrets import KEY_FILE
from tests.faults.server.conftest import StartFunction
from tests.running import ADMIN_TOKEN, Penstock, Sender, delivered, endless, eventually, track

_SMALL = {"limits": {"body_bytes_max": 1_000_000}, "store": {"segment_bytes": 4 * 1024 * 1024}}


def run(server: Penstock, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of a user, with the server's configuration."""
    line = [sys.executable, "-m", "server.cli", *words, "--conf", str(server.folder / "penstock.yaml")]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def back_up(server: Penstock, target: Path) -> dict[str, object]:
    done = run(server, "backup", str(target), "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def restore(server: Penstock, backup: Path, data: Path) -> None:
    done = run(server, "restore", str(backup), "--data", str(data))
    assert done.returncode == 0, done.stderr


def is_kept(server: Penstock, message_id: str) -> bool:
    """Whether the look-up finds the event."""
    return server.admin(f"/api/v1/events/{message_id}").status == 200


async def test_a_backup_under_load_has_all_that_was_acknowledged_before(
    make_server: StartFunction, database: str, tmp_path: Path
) -> None:
    server = await asyncio.to_thread(make_server(database, **_SMALL).start)
    sender = Sender(server.port, workers=8, batch=5)
    sending = asyncio.create_task(sender.send(endless("e")))
    acknowledged = []
    for turn in range(3):
        grown = lambda least=10_000 + turn * 2_000: len(sender.acknowledged) >= least  # noqa: E731
        await asyncio.to_thread(eventually, grown, "events are acknowledged")
        acknowledged = list(sender.acknowledged)
        said = await asyncio.to_thread(back_up, server, tmp_path / f"backup{turn}")
        assert said["segmentsLinked"] > 0
    sender.finish()
    await asyncio.wait_for(sending, 60)
    await asyncio.to_thread(server.kill)
    assert sender.cuts == 0
    assert set(sender.statuses) == {200}

    back = make_server(database, data=tmp_path / "back", **_SMALL)
    await asyncio.to_thread(restore, server, tmp_path / "backup2", tmp_path / "back")
    await asyncio.to_thread(back.start)
    assert back.post("/v1/track", track("new")).status == 200
    await asyncio.to_thread(back.drained)
    found = await asyncio.to_thread(delivered, database)
    assert len(found) == len(set(found)), "without a merge key, nothing arrived twice"
    assert {*acknowledged, "new"} <= set(found)
    for message_id in (*acknowledged[:: len(acknowledged) // 20], acknowledged[-1]):
        assert await asyncio.to_thread(is_kept, back, message_id)
    assert await asyncio.to_thread(back.stop) == 0


def test_a_stopped_server_is_backed_up_too(make_server: StartFunction, database: str, tmp_path: Path) -> None:
    server = make_server(database).start()
    assert server.post("/v1/track", track("one")).status == 200
    server.kill()
    done = run(server, "backup", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert "2 segments of the log" in done.stdout
    shutil.rmtree(tmp_path / "data")
    restore(server, tmp_path / "backup", tmp_path / "data")
    server.start().drained()
    assert delivered(database) == ["one"]
    assert server.stop() == 0


def _http(server: Penstock, method: str, directory: Path | str = "") -> dict[str, object]:
    query = f"?directory={directory}" if directory else ""
    headers = {"X-Admin-Token": ADMIN_TOKEN}
    said: dict[str, object] = server.request(method, f"/api/v1/backup{query}", headers=headers).json
    return said


def _much(server: Penstock) -> None:
    """So much in the log that a backup takes a while: it rests three quarters of its time."""
    for number in range(60):
        assert server.post("/v1/track", track(f"much{number}", text="x" * 500_000)).status == 200


_LARGE = {"store": {"segment_bytes": 64 * 1024 * 1024}}


def test_kill_9_during_a_backup_leaves_none(make_server: StartFunction, tmp_path: Path) -> None:
    server = make_server(None, **_LARGE).start()
    _much(server)
    target, partial = tmp_path / "backup", tmp_path / "backup.partial"
    assert _http(server, "POST", target)["state"] == "running"
    eventually((partial / "store" / "wal").exists, "it has begun", poll_s=0.001)
    server.kill()
    assert not target.exists()
    for left in (partial, target):
        assert run(server, "restore", str(left), "--data", str(tmp_path / "back")).returncode != 0
    assert not (tmp_path / "back").exists()
    server.start()
    back_up(server, target)
    assert not partial.exists()
    assert server.stop() == 0


def test_one_at_a_time_and_a_stop_of_the_server_ends_it(make_server: StartFunction, tmp_path: Path) -> None:
    server = make_server(None, **_LARGE).start()
    _much(server)
    assert _http(server, "GET") == {"state": "none"}
    assert _http(server, "POST", tmp_path / "one")["state"] == "running"
    assert _http(server, "POST", tmp_path / "two")["error"] == "backup_running"
    assert _http(server, "DELETE")["state"] in ("running", "failed")
    failed = eventually(lambda: (s := _http(server, "GET"))["state"] == "failed" and s, "it was stopped")
    assert "it was stopped" in str(failed["message"])
    assert _http(server, "POST", tmp_path / "three")["state"] == "running"
    assert server.stop() == 0
    assert [path.name for path in tmp_path.iterdir() if path.name[:3] in ("one", "two", "thr")] == []


def test_what_no_backup_can_become_is_one_line(make_server: StartFunction, tmp_path: Path) -> None:
    server = make_server(None).start()
    inside = run(server, "backup", str(tmp_path / "data" / "backup"))
    assert (inside.returncode, inside.stderr.count("\n")) == (1, 1)
    assert "in the data directory" in inside.stderr
    assert "is not empty" in run(server, "backup", str(server.folder)).stderr
    assert server.request("POST", f"/api/v1/backup?directory={tmp_path}/x").status == 401
    assert _http(server, "POST", "relative")["error"] == "bad_request"
    assert not (tmp_path / "x").exists()
    assert server.stop() == 0


def test_a_full_disk_ends_the_backup_and_not_the_server(make_server: StartFunction, small_disk: Path) -> None:
    server = make_server(None, **_LARGE).start()
    _much(server)
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 60_000_000)
    done = run(server, "backup", str(small_disk / "backup"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "bytes are free on the disk" in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    assert server.post("/v1/track", track("after")).status == 200
    filler.unlink()
    assert back_up(server, small_disk / "backup")["segmentsLinked"] == 0
    assert server.stop() == 0


def test_a_restore_asks_for_a_folder_of_its_own(make_server: StartFunction, tmp_path: Path) -> None:
    server = make_server(None).start()
    back_up(server, tmp_path / "backup")
    busy = run(server, "restore", str(tmp_path / "backup"))
    assert "is not empty" in busy.stderr
    assert server.stop() == 0
    for name in ("penstock.yaml", "postgres", KEY_FILE):
        (tmp_path / "back" / name).mkdir(parents=True)
    restore(server, tmp_path / "backup", tmp_path / "back")


def test_ctrl_c_ends_the_backup_in_the_server(make_server: StartFunction, tmp_path: Path) -> None:
    server = make_server(None, **_LARGE).start()
    _much(server)
    line = [sys.executable, "-m", "server.cli", "backup", str(tmp_path / "backup"), "--conf"]
    line.append(str(server.folder / "penstock.yaml"))
    with subprocess.Popen(line, stderr=subprocess.PIPE) as command:
        eventually((tmp_path / "backup.partial").exists, "it has begun", poll_s=0.001)
        command.send_signal(signal.SIGINT)
        said = command.communicate(timeout=30)[1].decode()
    assert (command.returncode, said) == (130, "stopped; nothing is left of the backup\n")
    eventually(lambda: _http(server, "GET")["state"] == "failed", "it has ended")
    assert not (tmp_path / "backup.partial").exists()
    assert server.stop() == 0
