"""A disk that is full, or fails to sync, under a real process: through the system-call shim."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.shim import build_shim, shim_environment


class Prober:
    """A prober process under the shim. Create `full` or `fail_sync` to make the disk fail."""

    def __init__(self, folder: Path, segment_bytes: int = 256 * 1024) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.full = folder / "full"
        self.fail_sync = folder / "fail-sync"
        library = build_shim(folder)
        shim = shim_environment(library, self.root, fail_sync=self.fail_sync, full=self.full)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.faults.images.prober",
                str(self.root / "store"),
                str(segment_bytes),
            ],
            env=os.environ | shim,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "open\n"

    def ask(self, line: str) -> str:
        """One line in, one answer out."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def prober(tmp_path: Path) -> Iterator[Prober]:
    """A running prober."""
    prober = Prober(tmp_path)
    yield prober
    prober.end()


def test_a_full_disk_refuses_and_the_store_goes_on(prober: Prober, tmp_path: Path) -> None:
    assert prober.ask("append 1") == "ok"
    prober.full.touch()
    assert [prober.ask("append 2"), prober.ask("put 1"), prober.ask("append 2")] == ["StoreFull"] * 3
    prober.full.unlink()
    assert [prober.ask("append 2"), prober.ask("put 1"), prober.ask("count")] == ["ok", "ok", "2"]
    prober.end()
    again = Prober(tmp_path)
    assert again.ask("count") == "2"
    again.end()


def test_no_room_for_a_new_segment_refuses_and_the_store_goes_on(prober: Prober) -> None:
    prober.full.write_text(".lmdb.tmp")
    answers = [prober.ask(f"append {number} 30000") for number in range(1, 10)]
    taken = answers.count("ok")
    assert answers == ["ok"] * taken + ["StoreFull"] * (9 - taken)
    assert 0 < taken < 9
    prober.full.unlink()
    assert prober.ask("append 9 30000") == "ok"
    assert prober.ask("count") == str(taken + 1)


@pytest.mark.parametrize("where", ["/wal/", "/catalog/"])
def test_a_failed_sync_poisons_until_the_restart(prober: Prober, tmp_path: Path, where: str) -> None:
    assert prober.ask("append 1") == "ok"
    prober.fail_sync.write_text(where)
    assert prober.ask("append 2" if where == "/wal/" else "put 2") == "StorePoisoned"
    prober.fail_sync.unlink()
    assert [prober.ask("append 3"), prober.ask("put 3"), prober.ask("refusal")] == ["StorePoisoned"] * 3
    assert prober.ask("close") == "ok"
    prober.end()
    again = Prober(tmp_path)
    assert again.ask("append 2") == "ok"
    assert again.ask("count") == "2"
    again.end()


@pytest.mark.parametrize("fault", ["full", "fail_sync"])
def test_a_segment_that_cannot_be_made_ahead_is_in_nobodys_way(tmp_path: Path, fault: str) -> None:
    prober = Prober(tmp_path, segment_bytes=4 * 1024 * 1024)
    getattr(prober, fault).write_text("blank")
    assert [prober.ask(f"append {number} 400000") for number in (1, 22, 333)] == ["ok"] * 3
    assert prober.ask("ahead") == "False"
    getattr(prober, fault).unlink()
    # The segment in use fills up: the one behind it is made ahead again.
    assert [prober.ask(f"append {number} 400000") for number in range(4444, 4447)] == ["ok"] * 3
    assert [prober.ask("ahead"), prober.ask("count"), prober.ask("refusal")] == ["True", "6", "NoneType"]
    prober.end()
