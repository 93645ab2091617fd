"""Log lines: their shape, and what never stands in them."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from server import logs


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What was logged to standard error; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line(lines: Callable[[], str]) -> None:
    logs.configure("info", "json", "box-1")
    logging.getLogger("server.x").info("moved %d", 3, extra={"link": "l"})
    line = json.loads(lines())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "server": "box-1",
        "logger": "server.x",
        "message": "moved 3",
        "link": "l",
    }


def test_a_text_line(lines: Callable[[], str]) -> None:
    logs.configure("warning", "text")
    logging.getLogger("server.x").info("quiet")
    logging.getLogger("server.x").warning("loud", extra={"link": "l"})
    assert lines().endswith("Z WARNING server.x: loud link=l\n")


@pytest.mark.parametrize("style", ["text", "json"])
def test_tracebacks_are_masked_too(lines: Callable[[], str], style: str) -> None:
    logs.configure("info", style)
    try:
        raise ValueError("postgresql://u:hunter2@h/d")
    except ValueError:
        logging.getLogger("server.x").exception("failed")
    said = lines()
    assert "ValueError" in said
    assert "hunter2" not in said


def test_granian_says_errors_only(lines: Callable[[], str]) -> None:
    from granian.log import LogLevels, configure_logging

    logs.configure("info", "text")
    configure_logging(LogLevels.info, logs.GRANIAN_CONFIG)
    granian = logging.getLogger("_granian")
    granian.warning("Embedded server is experimental!")
    granian.error("it broke")
    said = lines()
    assert said.count("\n") == 1
    assert "it broke" in said


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:hunter2@h/d",
        "POST /v1/t?writeKey=hunter2&x=1",
        "/api/v1/events?token=hunter2",
        "wk=hunter2",
        "Authorization: Basic hunter2hunter2",
        "Bearer id:hunter2secret",
        "{'X-Write-Key': 'hunter2'}",
        "x-admin-token: hunter2",
        "GET /api/v1/event?p_x=hunter2",
    ],
)
def test_credentials_are_masked(text: str) -> None:
    assert "hunter2" not in logs.masked(text)


@pytest.mark.parametrize("text", ["see http://h:80/x?limit=5", "the basic rule", "a@b", "wkx=1"])
def test_other_text_is_left_alone(text: str) -> None:
    assert logs.masked(text) == text
