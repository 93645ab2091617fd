"""Who the server runs as, decided from permission bits and capabilities."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.embedded import EmbeddedError
from server.embedded import privileges as privileges_module
from server.embedded.privileges import (
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    UIDS,
    held_capabilities,
    initdb_identity,
    server_identity,
)

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="root alone changes user")
AS_USER = pytest.mark.skipif(os.geteuid() == 0, reason="root may take over any cluster")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody can reach (pytest's own temporary folders are closed)."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "program").touch()
        (folder / "program").chmod(0o755)
        yield folder


@AS_ROOT
def test_reachable_folders_need_no_capability(home: Path) -> None:
    found = server_identity(None, [home / "program"], home)
    assert found.uid in UIDS
    assert found.capabilities == ()


@AS_ROOT
@pytest.mark.skipif(CAP_DAC_READ_SEARCH not in held_capabilities(), reason="the container has dropped it")
def test_a_closed_home_needs_the_weakest_one(home: Path) -> None:
    home.chmod(0o700)
    assert server_identity(None, [home / "program"], home).capabilities == (CAP_DAC_READ_SEARCH,)


@AS_ROOT
def test_programs_that_only_root_may_run_need_more(home: Path) -> None:
    (home / "program").chmod(0o700)
    assert server_identity(None, [home / "program"], home).capabilities == (CAP_DAC_OVERRIDE,)


@AS_ROOT
def test_the_owner_of_a_cluster_stays_its_owner(home: Path) -> None:
    assert server_identity(1234, [home / "program"], home).uid == 1234


@AS_ROOT
def test_dropped_capabilities_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges_module, "held_capabilities", frozenset)
    with pytest.raises(EmbeddedError, match=r"SETUID, SETGID, CHOWN.*\n.*datasource"):
        server_identity(None, [home / "program"], home)


@AS_ROOT
def test_initdb_runs_under_a_name(home: Path) -> None:
    import pwd

    found = initdb_identity(server_identity(None, [], home), [], home)
    assert found.uid is not None
    assert pwd.getpwuid(found.uid).pw_name != "root"


@AS_USER
def test_a_cluster_of_another_user_is_refused(home: Path) -> None:
    with pytest.raises(EmbeddedError, match="belongs to uid"):
        server_identity(os.geteuid() + 1, [], home)
