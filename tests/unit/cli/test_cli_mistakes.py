"""Wrong addresses, full disks, closed streams: told in a line that says what to do, never in a traceback."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import main
from server.commands.serve import foreign_files
from tests.running import Penstock, configuration, free_port, running

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root (CI runs as root)")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def shell(line: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A line of sh, in which "$@" is Python with these words."""
    command = ["sh", "-c", line, "sh", sys.executable, *words]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("foo.invalid", "with --host or server.host"),
        ("192.0.2.1", "with --host or server.host"),
        ("a" * 70, "with --host or server.host"),
        ("", "fault in --host"),
    ],
)
def test_a_host_that_is_not_this_machine_is_not_blamed_on_the_port(
    tmp_path: Path, host: str, said: str
) -> None:
    done = run("run", "--data", str(tmp_path / "d"), "--host", host)
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert "--port" not in done.stderr


def test_a_host_may_be_a_name(tmp_path: Path) -> None:
    with running(Penstock(tmp_path, configuration(free_port(), tmp_path / "data", None))) as server:
        server.stop()
        server.conf["server"]["host"] = "localhost"
        server.start()
        assert (tmp_path / "data" / "address").read_text() == f"http://127.0.0.1:{server.port}\n"


def test_nobody_else_may_write_where_the_server_listens_whatever_the_umask(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "address").touch(0o666)
    before = os.umask(0)
    try:
        with running(Penstock(tmp_path, configuration(free_port(), tmp_path / "data", None))):
            assert stat.S_IMODE((tmp_path / "data" / "address").stat().st_mode) == 0o644
    finally:
        os.umask(before)


def test_an_empty_folder_is_not_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("run", "--data", "")
    assert (done.exit_code, "--data is empty" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:3049", "", "http://", "http://h:99999", "http://[h"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    (tmp_path / "conf.yaml").write_text("server: {admin_token: x}")
    done = run("events", "tail", "--conf", str(tmp_path / "conf.yaml"), "--url", url)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "write http://host:port" in done.stderr


def test_what_is_no_http_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text("server: {admin_token: x}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        words = ["-m", "server.cli", "events", "tail", "--conf", str(tmp_path / "conf.yaml"), "--url", url]
        asking = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE)
        with other.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(b"SSH-2.0-none\r\n\r\n")
        assert b"is the server running there?" in asking.communicate(timeout=60)[1]


def test_who_refuses_the_admin_token_is_named(tmp_path: Path) -> None:
    with running(Penstock(tmp_path, configuration(free_port(), tmp_path / "data", None))) as server:
        (tmp_path / "other.yaml").write_text("server: {admin_token: another}")
        url = f"http://127.0.0.1:{server.port}"
        done = run("events", "tail", "--conf", str(tmp_path / "other.yaml"), "--url", url)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {url} says: Admin token does not match")


def test_output_that_cannot_be_written() -> None:
    done = shell('"$@" >/dev/full', "-m", "server.cli", "version")
    assert (done.returncode, done.stderr) == (1, b"error: cannot write: No space left on device\n")


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_text("server: {admin_token: x}")
    stream = os.fsdecode(b"\xe9")
    done = run("events", "tail", "--conf", str(tmp_path / "conf.yaml"), "--stream", stream)
    assert (done.exit_code, "is not UTF-8 text" in done.stderr) == (1, True)


def test_no_socket_takes_the_number_of_a_closed_stream() -> None:
    program = "import os, sys; from server.cli import main; main(['version'], standalone_mode=False); "
    program += "print(os.open(os.devnull, os.O_RDONLY)); sys.exit(bool(sys.stdin.read()))"
    done = shell('"$@" <&-', "-c", program)
    assert (done.returncode, int(done.stdout.split()[-1]) > 2) == (0, True)
    assert shell('"$@" >&- 2>&-', "-c", program).returncode == 0


@AS_ROOT
def test_files_of_another_user_are_named_with_what_to_do(tmp_path: Path) -> None:
    assert foreign_files(tmp_path) == ""
    (tmp_path / "wal").mkdir()
    os.chown(tmp_path / "wal", 54321, 54321)
    said = foreign_files(tmp_path)
    assert f"{tmp_path / 'wal'} belongs to uid 54321: as root, chown -R {os.geteuid()} {tmp_path}" in said
