"""One server for a module; each test makes objects of its own names."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.running import ADMIN_TOKEN, Answer, Penstock, configuration, free_port


@dataclass(frozen=True, slots=True)
class Api:
    """The management API of a server, asked by an admin unless other headers say so."""

    server: Penstock

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = None if body is None else json.dumps(body).encode()
        return self.server.request(method, path, sent, {"X-Admin-Token": ADMIN_TOKEN, **given})

    def config(self, method: str, rest: str, body: object = None, **headers: str) -> Answer:
        """Below /api/default/config/."""
        return self.ask(method, f"/api/default/config/{rest}", body, **headers)

    def make(self, kind: str, **fields: object) -> str:
        """A new object; its id."""
        answer = self.config("POST", kind, {**MINIMAL.get(kind, {}), **fields})
        assert answer.status == 200, answer.body
        return str(answer.json["id"])

    def get(self, kind: str, id_: str) -> dict[str, Any]:
        answer = self.config("GET", f"{kind}/{id_}")
        assert answer.status == 200, answer.body
        return dict(answer.json)

    def linked(self, **data: object) -> tuple[str, str, str]:
        """A stream, a destination and the link between them."""
        stream, destination = self.make("stream"), self.make("destination")
        return stream, destination, self.make("link", fromId=stream, toId=destination, data=data)


MINIMAL: dict[str, dict[str, object]] = {
    "destination": {
        "destinationType": "postgres",
        "host": "127.0.0.1",
        "port": 9,
        "database": "d",
        "username": "u",
    },
    "function": {"code": "export default (event) => event"},
    "service": {"package": "airbyte/source-github", "version": "1.0"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    folder = tmp_path_factory.mktemp("management")
    running = Penstock(folder, configuration(free_port(), folder / "data", None)).start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def api(server: Penstock) -> Api:
    return Api(server)


@pytest.fixture
def name() -> str:
    """An id that no other test has."""
    return f"n-{secrets.token_hex(6)}"
