"""The embedded Postgres, really started: adopt, restart, refuse, stop."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from server.embedded import EmbeddedError, EmbeddedPostgres, PostgresAddress, launcher
from server.embedded import postmaster as postmaster_facts

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user of the server")
Maker = Callable[[], EmbeddedPostgres]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cluster that was started once and stopped."""
    folder = tmp_path_factory.mktemp("made") / "data"
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder; as root it now belongs to root, as after a restore."""
    return Path(shutil.copytree(made, tmp_path / "da ta"))


@pytest.fixture
def maker(data: Path) -> Iterator[Maker]:
    """Makes servers on the folder, and stops what is left of them."""
    servers: list[EmbeddedPostgres] = []

    def make() -> EmbeddedPostgres:
        servers.append(EmbeddedPostgres(data))
        return servers[-1]

    yield make
    for server in servers:
        server.stop(5)


def ask(address: PostgresAddress, query: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(address.url, ssl=False)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


def postmaster(data: Path) -> int:
    found = postmaster_facts.read_pid_file(data / "postgres" / "cluster")
    assert found is not None
    return found.pid


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_fresh_folder_gets_a_durable_utf8_database(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "data")
    address = server.start()
    try:
        assert (address.host, address.database, server.adopted) == ("127.0.0.1", "events", False)
        for setting, value in {"fsync": "on", "full_page_writes": "on", "server_encoding": "UTF8"}.items():
            assert ask(address, f"SELECT current_setting('{setting}')") == value
        assert ask(address, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    finally:
        server.stop()


def test_a_wrong_password_is_refused(maker: Maker) -> None:
    address = maker().start()
    wrong = PostgresAddress(address.host, address.port, address.database, address.username, "wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(wrong, "SELECT 1")
    superuser = PostgresAddress(address.host, address.port, "postgres", "postgres", address.password)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        ask(superuser, "SELECT 1")


def test_secrets_are_for_the_owner_alone(maker: Maker, data: Path) -> None:
    maker().start()
    password = data / "postgres" / "cluster" / "penstock.password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(password.parent.stat().st_mode) == 0o700
    assert password.read_text().strip() not in repr(maker().running())


def test_the_port_stays_the_same(maker: Maker) -> None:
    first, server = maker(), maker()
    port = first.start().port
    first.stop()
    assert server.start().port == port


def test_nobody_else_may_write_the_port_whatever_the_umask(maker: Maker, data: Path) -> None:
    port = data / "postgres" / "port"
    port.chmod(0o666)
    before = os.umask(0)
    try:
        maker().start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(port.stat().st_mode) == 0o600


def test_a_taken_port_is_left_alone(maker: Maker, data: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (data / "postgres" / "port").write_text(str(other.getsockname()[1]))
        assert maker().start().port != other.getsockname()[1]


def test_a_server_that_outlived_us_is_adopted(maker: Maker, data: Path) -> None:
    starter = "import os, sys; from pathlib import Path; from server.embedded import EmbeddedPostgres\n"
    starter += "EmbeddedPostgres(Path(sys.argv[1])).start(); os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", starter, str(data)], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    pid, server = postmaster(data), maker()
    address = server.start()
    assert server.adopted
    assert postmaster(data) == pid
    assert ask(address, "SELECT 1") == 1
    server.stop()
    assert not postmaster_facts.serves(pid, server.cluster)


def test_a_killed_server_is_started_again(maker: Maker, data: Path) -> None:
    server = maker()
    address = server.start()
    assert server.ensure() is None
    os.kill(postmaster(data), signal.SIGKILL)
    until(lambda: not postmaster_facts.serves(postmaster(data), server.cluster))
    again = server.ensure()
    assert again is not None
    assert again.port == address.port
    assert ask(again, "SELECT 1") == 1


def test_starting_twice_is_starting_once(maker: Maker, data: Path) -> None:
    server = maker()
    address, pid = server.start(), postmaster(data)
    assert server.start() == address
    assert (postmaster(data), server.adopted) == (pid, False)


def test_a_server_on_its_way_out_is_waited_for(maker: Maker, data: Path) -> None:
    leaving, server = maker(), maker()
    leaving.start()
    old = postmaster(data)
    os.kill(old, signal.SIGINT)
    server.start()
    assert postmaster(data) != old


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "postgres").touch()
    with pytest.raises(EmbeddedError, match="give another --data"):
        EmbeddedPostgres(tmp_path).start()


def test_where_it_runs_can_be_asked(maker: Maker) -> None:
    server = maker()
    assert server.running() is None
    assert server.start() == maker().running()
    server.stop()
    assert server.running() is None
    server.stop()


def test_a_pid_file_of_somebody_elses_process_is_stale(maker: Maker, data: Path) -> None:
    pid_file = data / "postgres" / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n0\n15432\n\n127.0.0.1\n  1  999999\nready\n")
    server = maker()
    server.start()
    assert not server.adopted


@pytest.mark.parametrize("line", ["fsync = off", "full_page_writes = off"])
def test_without_fsync_it_does_not_start(maker: Maker, data: Path, line: str) -> None:
    with (data / "postgres" / "cluster" / "postgresql.auto.conf").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(EmbeddedError, match="remove that line"):
        maker().start()


def test_a_broken_configuration_is_quoted(maker: Maker, data: Path) -> None:
    with (data / "postgres" / "cluster" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = lots\n")
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        maker().start()


def test_a_server_that_ends_at_once_leaves_its_last_words(maker: Maker, data: Path) -> None:
    shutil.rmtree(data / "postgres" / "cluster" / "global")
    with pytest.raises(EmbeddedError, match="last lines of"):
        maker().start()


def test_another_major_version_is_refused(maker: Maker, data: Path) -> None:
    (data / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="Postgres 17"):
        maker().start()


def test_a_lost_password_is_said(maker: Maker, data: Path) -> None:
    (data / "postgres" / "cluster" / "penstock.password").unlink()
    with pytest.raises(EmbeddedError, match="put it back"):
        maker().start()


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "cluster.new.1"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(tmp_path)
    server.start()
    server.stop()
    assert not half.exists()


def test_row_values_do_not_reach_the_log(maker: Maker, data: Path) -> None:
    address = maker().start()
    with pytest.raises(asyncpg.DataError):
        ask(address, "SELECT 'secret-of-a-person'::int")
    assert "secret-of-a-person" not in (data / "postgres" / "server.log").read_text()


def test_it_has_a_session_of_its_own(maker: Maker, data: Path) -> None:
    maker().start()
    assert os.getsid(postmaster(data)) != os.getsid(0)


def test_it_gives_way_to_the_process_that_takes_events(maker: Maker, data: Path) -> None:
    maker().start()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, postmaster(data)) == min(19, ours + launcher.NICENESS)


@AS_ROOT
def test_as_root_it_is_nobody_and_nothing_outside_changes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    users = Path("/etc/passwd").read_bytes()
    server = EmbeddedPostgres(home / "data")
    server.start()
    try:
        status = Path(f"/proc/{postmaster(home / 'data')}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in fields["Uid"].split()
        assert bin(int(fields["CapEff"], 16)).count("1") == 1
        assert fields["NoNewPrivs"] == "1"
        assert fields["Groups"].strip() == ""
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert Path("/etc/passwd").read_bytes() == users
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/bin/postgres", "-D", "{}"], True),
        (["/bin/postgres", "-D", "{}-2"], False),
        (["/bin/psql", "-D", "{}", "postgres"], False),
        (["/bin/postgres", "-D"], False),
    ],
)
def test_a_postmaster_is_known_behind_an_emulator_too(tmp_path: Path, words: list[str], found: bool) -> None:
    waiting = [sys.executable, "-c", "input()", *(word.format(tmp_path) for word in words)]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as emulator:
        until(lambda: Path(f"/proc/{emulator.pid}/cmdline").read_bytes().count(b"\0") == len(waiting))
        assert postmaster_facts.serves(emulator.pid, tmp_path) is found
        emulator.communicate(b"\n")
