"""`penstock config export` and `apply` against a running server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from server.cli import main
from server.management import MASK
from tests.running import Penstock, configuration, free_port, running

PASSWORD = "a-password-nobody-sees"
FILE = f"""\
server: {{port: 1}}
streams:
  web: {{publicKeys: ["web:a-key-nobody-sees"], authorizedJavaScriptDomains: "a.example.com"}}
destinations:
  pg:
    destinationType: postgres
    host: db
    port: "${{env.PG_PORT|6432}}"
    database: d
    username: u
    password: {PASSWORD}
links:
  web-pg:
    from: web
    to: pg
    data: {{disabled: true, startFrom: 2026-01-01, primaryKey: "message_id, name"}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Penstock]:
    folder = tmp_path_factory.mktemp("config")
    with running(Penstock(folder, configuration(free_port(), folder / "data", None))) as server:
        yield server


def config(server: Penstock, *words: str) -> Result:
    return CliRunner().invoke(main, ["config", *words, "--conf", str(server.folder / "penstock.yaml")])


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "objects.yaml"
    path.write_text(text)
    return str(path)


def test_there_and_back(server: Penstock, tmp_path: Path) -> None:
    file = written(tmp_path, FILE)
    shown = config(server, "apply", file, "--dry-run")
    assert "+ link web-pg" in shown.stdout
    assert "applied" not in shown.stdout
    done = config(server, "apply", file)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "applied: 3 made")
    assert "not applied, because they are settings of the process: server" in done.stderr
    assert config(server, "apply", file).stdout == "nothing changes\n"

    exported = config(server, "export", str(tmp_path / "out.yaml"))
    assert exported.exit_code == 0
    text = (tmp_path / "out.yaml").read_text()
    assert yaml.safe_load(text)["destinations"]["pg"]["datasource"]["port"] == 6432
    assert set(yaml.safe_load(text)["streams"]) == {"site", "web"}
    for said in (shown.stdout, done.stdout, done.stderr, text, server.log):
        assert "nobody-sees" not in said
    assert config(server, "apply", str(tmp_path / "out.yaml"), "--prune").stdout == "nothing changes\n"

    moved = text.replace("6432", "6433")
    refused = config(server, "apply", written(tmp_path, moved))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "destinations.pg.password: must be given again" in refused.stderr
    changed = written(tmp_path, moved.replace(f"password: {MASK}", f"password: {PASSWORD}"))
    assert "~ destination pg\n    datasource.port: 6432 → 6433\n" in config(server, "apply", changed).stdout
    pruned = config(server, "apply", written(tmp_path, "streams: {}"), "--prune")
    assert pruned.stdout == "- link web-pg\n- destination pg\n- stream web\napplied: 3 deleted\n"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("streams: {a: {nme: x}, b: {origins: [null]}}", 2, "streams.a.nme: is not a known setting"),
        ("streams: {a: {}, a: {}}", 2, "streams.a: is given twice"),
        ("streams: {site: {name: other}}", 2, "streams.site: stream site is declared in the configuration"),
        ("tables: {}", 2, "tables: is not a section of objects"),
        ("streams: {a: {name: '${env.NOT_SET}'}}", 2, "environment variable NOT_SET is not set"),
    ],
)
def test_a_faulty_file_changes_nothing(
    server: Penstock, tmp_path: Path, text: str, status: int, said: str
) -> None:
    before = config(server, "export").stdout
    done = config(server, "apply", written(tmp_path, text))
    assert (done.exit_code, done.stdout) == (status, "")
    assert said in done.stderr
    assert config(server, "export").stdout == before


def test_an_unknown_workspace_is_told(server: Penstock) -> None:
    done = config(server, "export", "--workspace", "no/such")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


def test_what_changes_after_it_was_compared_is_not_overwritten(server: Penstock, tmp_path: Path) -> None:
    """Somebody makes a stream after the server has said what would change, and before it is told to do it."""

    class Between(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: self.headers[name] for name in ("X-Admin-Token", "If-Match")}
            if "dryRun" not in self.path:
                server.request("POST", "/api/default/config/stream", b'{"id": "theirs"}', headers)
            answer = server.request("PUT", self.path, body, headers)
            self.send_response(answer.status)
            self.end_headers()
            self.wfile.write(answer.body)

    proxy = HTTPServer(("127.0.0.1", 0), Between)
    with proxy, ThreadPoolExecutor(1) as thread:
        thread.submit(proxy.serve_forever)
        url = f"http://127.0.0.1:{proxy.server_port}"
        done = config(server, "apply", written(tmp_path, "streams: {ours: {}}"), "--prune", "--url", url)
        proxy.shutdown()
    assert (done.exit_code, done.stdout.splitlines()[0]) == (1, "+ stream ours")
    assert "applied" not in done.stdout
    assert "changed since they were compared; nothing was applied: run it again" in done.stderr
    assert set(yaml.safe_load(config(server, "export").stdout)["streams"]) == {"site", "theirs"}
