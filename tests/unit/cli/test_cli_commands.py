"""The command line as a user meets it: what is printed, where, and with which exit status."""

import asyncio
import json
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from click.testing import CliRunner, Result

from server.cli import COMMANDS, main
from server.commands import quickstart
from server.commands.terminal import table
from server.settings import load

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_CONF", raising=False)
    return lambda *words: CliRunner().invoke(main, words)


@pytest.fixture
def conf(tmp_path: Path, database: str) -> str:
    """A configuration whose one destination is a fresh database with a table."""
    url = urlsplit(database)
    source = {"host": url.hostname, "port": url.port, "db": url.path[1:], "username": url.username}
    source |= {"password": url.password or ""}
    path = tmp_path / "conf.yaml"
    path.write_text(json.dumps({"destinations": {"d": {"type": "postgres", "datasource": source}}}))
    asyncio.run(_fill(database))
    return str(path)


async def _fill(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE fruit (name text, weight int)")
    await connection.execute("INSERT INTO fruit VALUES ('pear', 120), ('plum', NULL)")
    await connection.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_help_does_not_load_the_server() -> None:
    program = "import sys; from server.cli import main; main(['--help'], standalone_mode=False); "
    program += "sys.exit(bool({'asyncpg', 'msgspec', 'blacksheep', 'granian'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL).returncode
        == 0
    )


def test_check_names_every_fault(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("server: {prt: 1}\nstore: {retention_s: -1}\n")
    result = run("check", "--conf", str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "server.prt: is not a known setting (did you mean port?)" in result.stderr
    assert "store.retention_s: must be at least 0, not -1" in result.stderr


def test_check_of_a_good_file(run: Run, conf: str) -> None:
    result = run("check", "--conf", conf)
    assert (result.exit_code, result.stdout) == (0, "ok: 0 streams, 1 destination, 0 links\n")


def test_no_configuration_is_one_line(run: Run) -> None:
    result = run("sql", "select 1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no configuration: give one with --conf FILE")
    assert result.stderr.count("\n") == 1


def test_sql_prints_a_table(run: Run, conf: str) -> None:
    result = run("sql", "--conf", conf, "select * from fruit order by name")
    assert result.stdout == "name | weight\n---- | ------\npear | 120\nplum |\n(2 rows)\n"


def test_sql_prints_json(run: Run, conf: str) -> None:
    result = run("sql", "--json", "--conf", conf, "select * from fruit order by name")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"name": "pear", "weight": 120},
        {"name": "plum", "weight": None},
    ]


def test_sql_reads_only_unless_told(run: Run, conf: str) -> None:
    refused = run("sql", "--conf", conf, "delete from fruit")
    assert refused.exit_code == 1
    assert "add --write" in refused.stderr
    assert run("sql", "--write", "--conf", conf, "delete from fruit").stdout == "DELETE 2\n"


@pytest.mark.parametrize("statement", ["selec", "select * from nothing", "select 1/0", ""])
def test_sql_mistakes_are_one_line(run: Run, conf: str, statement: str) -> None:
    result = run("sql", "--conf", conf, statement)
    assert result.exit_code in (0, 1)
    assert result.stderr.count("\n") <= 1
    assert isinstance(result.exception, SystemExit | None)


def test_sql_with_an_embedded_server_that_does_not_run(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("destinations: {d: {type: postgres, embedded: true}}")
    assert "start Penstock first" in run("sql", "--conf", str(path), "select 1").stderr


def test_events_without_a_server(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        path.write_text(f"server: {{admin_token: x, port: {unheard.getsockname()[1]}}}")
        result = run("events", "tail", "--conf", str(path))
    assert result.exit_code == 1
    assert "is the server running there?" in result.stderr


def test_a_port_in_use_is_named(run: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = run("run", "--data", str(tmp_path / "d"), "--port", port)
    assert result.exit_code == 1
    assert f":{port}: Address already in use" in result.stderr.splitlines()[-1]
    assert "choose another with --port" in result.stderr.splitlines()[-1]


def test_the_quick_start_configuration_is_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "da ta"
    path = folder / "penstock.yaml"
    quickstart.write_once(folder, path)
    first = path.read_text()
    quickstart.write_once(folder, path)
    assert path.read_text() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["penstock.yaml"]


def test_the_quick_start_configuration_is_right(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    quickstart.write_once(tmp_path, path)
    config = load(path, {}, {})
    assert config.data_dir == tmp_path
    assert config.needs_embedded
    said = quickstart.next_steps(config, path, "key-1:shown-once")
    assert "key-1:shown-once" in said
    assert "API key" not in quickstart.next_steps(config, path, None)
    for secret in (config.server.admin_token, config.streams["site"].browser_keys[0].token):
        assert len(secret) > 20
        assert secret in said
    assert f"X-Write-Key: {config.streams['site'].server_keys[0].token}" in said


def test_a_folder_that_cannot_be_made_is_a_mistake(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("run", "--data", str(tmp_path / "file" / "data"))
    assert result.exit_code == 1
    assert "choose another folder with --data" in result.stderr


def test_a_wide_table_is_turned() -> None:
    narrow = table(["a", "b"], [["1", "2"]], 80)
    assert narrow.splitlines()[0] == "a | b"
    assert table(["a", "long"], [["1", "x" * 90]], 40) == f"a    | 1\nlong | {'x' * 90}"


def test_check_can_try_the_destinations(run: Run, conf: str, tmp_path: Path) -> None:
    assert run("check", "--connect", "--conf", conf).stdout.endswith("d: ok\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text(Path(conf).read_text().replace('"db": "penstock_test', '"db": "no_penstock_test'))
    result = run("check", "--connect", "--conf", str(broken))
    assert result.exit_code == 1
    assert result.stderr.startswith("d: ")
    assert "1 of 1 destinations cannot be used" in result.stderr
