"""`penstock keys`, with a stopped server and with a running one."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from server.cli import main
from tests.running import ADMIN_TOKEN, Penstock, configuration, free_port, running


@pytest.fixture
def server(tmp_path: Path) -> Penstock:
    conf = configuration(free_port(), tmp_path / "data", None)
    (tmp_path / "penstock.yaml").write_text(yaml.safe_dump(conf))
    return Penstock(tmp_path, conf)


def keys(server: Penstock, *words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words, "--conf", str(server.folder / "penstock.yaml")])


def listed(server: Penstock) -> list[dict[str, object]]:
    return list(json.loads(keys(server, "list", "--json").stdout)["keys"])


def lets_in(server: Penstock, key: str) -> bool:
    answer = server.request("GET", "/api/user/keys", headers={"Authorization": f"Bearer {key}"})
    return answer.status == 200


def test_a_key_made_before_the_first_start_and_one_made_beside_the_server(server: Penstock) -> None:
    first = keys(server, "create", "--name", "first").stdout.strip()
    with running(server):
        second = keys(server, "create", "--expires", "2099-01-01T00:00:00Z").stdout.strip()
        assert lets_in(server, first)
        assert lets_in(server, second)
        assert [key["id"] for key in listed(server)] == [key.partition(":")[0] for key in (first, second)]
        assert "revoked" in keys(server, "delete", first.partition(":")[0]).stdout
        assert not lets_in(server, first)
    assert [key["expiresAt"] for key in listed(server)] == ["2099-01-01T00:00:00.000Z"]
    assert keys(server, "delete", second).exit_code == 0
    assert keys(server, "list").stdout == "no keys\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "--expires", "2001-01-01"), "is not a time to come"),
        (("delete", "key-none"), "does not exist"),
        (("delete", ":"), "give the id of a key"),
        (("list", "--url", "http://127.0.0.1:1"), "no answer from"),
    ],
)
def test_a_mistake_is_one_line(server: Penstock, words: tuple[str, ...], said: str) -> None:
    done = keys(server, *words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_store_without_its_key_file_does_not_start(server: Penstock) -> None:
    with running(server):
        headers = {"X-Admin-Token": ADMIN_TOKEN}
        assert server.request("POST", "/api/default/config/stream", b'{"id":"web"}', headers).status == 200
    (server.folder / "data" / "secret.key").unlink()
    server.spawn()
    assert server.ended_within(30)
    assert server.process is not None
    assert server.process.returncode == 1
    assert "put back the secret.key" in server.log.splitlines()[-1]
