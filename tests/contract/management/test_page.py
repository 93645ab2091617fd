"""docs/api.md: every command on the page does what the page says."""

import re
import shlex
from pathlib import Path

import pytest

from tests.contract.management.conftest import Api

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


def test_every_command_of_the_page(api: Api) -> None:
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
