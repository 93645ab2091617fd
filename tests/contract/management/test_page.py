"""docs/api.md: every command on the page does what it says, on a server with what `make run` declares."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from server.commands.quickstart import TEMPLATE
from tests.contract.management.conftest import Api
from tests.running import ADMIN_TOKEN, Penstock, datasource, free_port, running

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
SEED = [
    ("GET", "/config/{}"),
    ("POST", "/config/{}"),
    ("GET", "/config/{}/"),
    ("PUT", "/config/{}/"),
    ("DELETE", "/config/{}/"),
]


def commands() -> list[tuple[str, int]]:
    """(command, the status it should be answered with: 200 unless a comment says otherwise)."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    calls = re.split(r"^(?=curl )", "\n".join(blocks), flags=re.MULTILINE)[1:]
    found = []
    for call in calls:
        command, _, comment = call.partition("  # ")
        found.append((command.replace("\\\n", " "), int(comment[:3]) if comment[:3].isdigit() else 200))
    return found


@pytest.fixture
def quick_started(tmp_path: Path) -> Iterator[Penstock]:
    """What the quick start declares, but for the embedded Postgres: starting one takes seconds."""
    secrets = {"browser_secret": "b", "server_secret": "s"}
    conf = yaml.safe_load(TEMPLATE.format(admin_token=ADMIN_TOKEN, **secrets))
    conf["server"]["port"] = free_port()
    conf["store"]["path"] = str(tmp_path / "data")
    for destination in conf["destinations"].values():
        del destination["embedded"]
        destination["datasource"] = datasource("postgresql://nobody@127.0.0.1:9/none")
    with running(Penstock(tmp_path, conf)) as server:
        yield server


def test_every_command_of_the_page(quick_started: Penstock) -> None:
    api = Api(quick_started)
    key = api.ask("POST", "/api/user/keys", {"role": "admin"}).json["key"]
    for command, status in commands():
        _, url, *rest = shlex.split(command.replace("$KEY", key).replace("$HOST", ""))
        options = list(zip(rest[::2], rest[1::2], strict=True))
        headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
        body = next((value.encode() for option, value in options if option == "-d"), None)
        method = next((value for option, value in options if option == "-X"), "GET")
        answer = api.server.request(method, url, body, headers)
        assert answer.status == status, (command, answer.body)


@pytest.mark.parametrize("kind", ["stream", "destination", "function"])
def test_every_call_of_an_object_is_on_the_page(kind: str) -> None:
    text = [command for command, _ in commands()]
    for method, path in SEED:
        wanted = path.format(kind)
        assert any(
            wanted in command and (f"-X {method}" in command or (method == "GET" and "-X" not in command))
            for command in text
        ), (method, wanted)
