"""The launcher, really run: who the program is afterwards, and what it may do."""

import json
import os
import subprocess
import sys

import pytest

from server.embedded import launcher
from server.embedded.privileges import CAP_DAC_READ_SEARCH, held_capabilities

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes user")
NOBODY = 58_399


def launch(program: str, *words: str, **order: object) -> subprocess.CompletedProcess[str]:
    asked = {"uid": None, "gid": None, "capabilities": [], "alias_uid": None, **order}
    command = [sys.executable, "-I", "-S", launcher.__file__, json.dumps(asked), program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def status(**order: object) -> dict[str, list[str]]:
    """/proc/self/status of a program that was launched."""
    lines = launch("/bin/cat", "/proc/self/status", **order).stdout.splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def test_it_stays_who_we_are() -> None:
    found = status()
    assert found["Uid"] == [str(os.geteuid())] * 4
    assert (found["Umask"], found["NoNewPrivs"]) == (["0077"], ["1"])


@AS_ROOT
def test_another_user_without_any_right() -> None:
    found = status(uid=NOBODY, gid=NOBODY)
    assert found["Uid"] == found["Gid"] == [str(NOBODY)] * 4
    assert found["Groups"] == []
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found[kind][0], 16) == 0


@AS_ROOT
@pytest.mark.skipif(CAP_DAC_READ_SEARCH not in held_capabilities(), reason="the container has dropped it")
def test_another_user_with_exactly_one_right() -> None:
    found = status(uid=NOBODY, gid=NOBODY, capabilities=[CAP_DAC_READ_SEARCH])
    assert found["Uid"] == [str(NOBODY)] * 4
    for kind in ("CapPrm", "CapEff", "CapAmb"):
        assert int(found[kind][0], 16) == 1 << CAP_DAC_READ_SEARCH


def test_what_cannot_be_done_is_said() -> None:
    result = launch("/bin/true", alias_uid=-1)
    assert result.returncode == launcher.EXIT_CANNOT
    assert result.stderr.startswith("launcher: ")


def test_a_program_that_is_missing_is_said() -> None:
    result = launch("/no/such/program")
    assert (result.returncode, "No such file" in result.stderr) == (launcher.EXIT_CANNOT, True)
