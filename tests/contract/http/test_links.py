"""`/api/v1/links` and `penstock links`: how the links are; pausing and resuming one."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from server.cli import main
from tests.running import ADMIN_TOKEN, Answer, Penstock, eventually, track

LINK = "site-warehouse"


@pytest.fixture
def penstock(server: Penstock) -> Callable[..., Result]:
    """The command line beside the running server."""
    conf = str(server.folder / "penstock.yaml")
    return lambda *arguments: CliRunner().invoke(main, ["links", *arguments, "--conf", conf])


def post(server: Penstock, path: str) -> Answer:
    return server.request("POST", path, headers={"X-Admin-Token": ADMIN_TOKEN, "Content-Length": "0"})


def test_a_link_says_how_it_is(server: Penstock) -> None:
    assert server.post("/v1/track", track("seen")).status == 200
    server.drained()
    links = {link["id"]: link for link in server.admin("/api/v1/links").json["links"]}
    assert set(links) == {LINK, "limited-link", "host-link", "private-link"}
    one = server.admin(f"/api/v1/links/{LINK}").json
    assert (one["stream"], one["destination"], one["state"]) == ("site", "warehouse", "waiting")
    assert (one["lagEvents"], one["lagBytes"], one["lagSeconds"], one["parked"]) == (0, 0, 0.0, [])
    assert one["delivered"] >= 1
    assert one["ratePerSecond"] > 0


def test_a_pause_and_its_end(server: Penstock) -> None:
    paused = post(server, f"/api/v1/links/{LINK}/pause")
    assert (paused.status, paused.json["pausedBy"]) == (200, "operator")
    assert server.post("/v1/track", track("while paused")).status == 200
    waits = lambda: server.admin(f"/api/v1/links/{LINK}").json["lagEvents"] == 1  # noqa: E731
    eventually(waits, "the event waits")
    assert server.metric("penstock_link_paused", f'link="{LINK}"') == 1
    assert server.metric("penstock_link_up", f'link="{LINK}"') == 0
    event = server.admin("/api/v1/events/while%20paused").json["events"][0]
    assert event["links"][0]["state"] == "waiting"
    assert post(server, f"/api/v1/links/{LINK}/resume").json["pausedBy"] is None
    server.drained()


@pytest.mark.parametrize("path", ["/api/v1/links/nobody", f"/api/v1/links/{LINK}/stop"])
def test_what_is_not_there(server: Penstock, path: str) -> None:
    assert server.admin(path).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/v1/links"), ("GET", f"/api/v1/links/{LINK}"), ("POST", f"/api/v1/links/{LINK}/pause")],
)
def test_only_for_admins(server: Penstock, method: str, path: str) -> None:
    assert server.request(method, path, headers={"Content-Length": "0"}).status == 401


def test_the_command_line(server: Penstock, penstock: Callable[..., Result]) -> None:
    server.drained()
    assert penstock("pause", LINK).stdout.startswith(f"{LINK} is paused")
    shown = penstock("status").stdout
    assert f"\n{LINK}: paused by an operator\n" in shown
    assert "private-link" in shown
    assert json.loads(penstock("status", "--json", LINK).stdout)["pausedBy"] == "operator"
    assert penstock("resume", LINK).exit_code == 0
    assert json.loads(penstock("status", "--json").stdout)["links"][0]["pausedBy"] is None
    unknown = penstock("pause", "nobody")
    assert (unknown.exit_code, unknown.stderr) == (1, "error: no enabled link nobody\n")
