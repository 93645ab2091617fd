"""`penstock links`: how the links are, and pausing and resuming one. Asks the running server."""

import json
import urllib.parse
from pathlib import Path
from typing import Any

import click

from server.commands.admin_client import ask, json_option, require, url_option
from server.commands.terminal import Mistake, conf_option, table, terminal_width, visible

_PATH = "/api/v1/links"
_COLUMNS = {
    "link": "id",
    "state": "state",
    "waiting": "lagEvents",
    "bytes": "lagBytes",
    "lag": "lagSeconds",
    "rate": "ratePerSecond",
    "delivered": "delivered",
    "dead letters": "deadLetters",
    "dropped": "dropped",
    "next attempt": "nextAttemptAt",
}


@click.group()
def command() -> None:
    """How the links are; pause and resume them."""


@command.command()
@click.argument("link", required=False)
@conf_option
@url_option
@json_option
def status(conf: Path | None, url: str | None, as_json: bool, link: str | None) -> None:
    """Lag, rate, dead letters, last error and next attempt of every link, or of one."""
    answer = _asked(conf, url, link, "")
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    links = answer["links"] if link is None else [answer]
    click.echo(_table(links) if links else "no enabled link")
    for one in links:
        for words in _words(one):
            click.echo(visible(f"{one['id']}: {words}"))


@command.command()
@click.argument("link")
@conf_option
@url_option
def pause(conf: Path | None, url: str | None, link: str) -> None:
    """Deliver nothing more of a link until it is resumed, also after a restart. Its events are kept."""
    _asked(conf, url, link, "pause")
    click.echo(f"{link} is paused; its events are kept until `penstock links resume {link}`")


@command.command()
@click.argument("link")
@conf_option
@url_option
def resume(conf: Path | None, url: str | None, link: str) -> None:
    """Go on with a link, and at once: also ends a wait for the next attempt, and a pause by the breaker."""
    _asked(conf, url, link, "resume")
    click.echo(f"{link} goes on")


def _asked(conf: Path | None, url: str | None, link: str | None, action: str) -> dict[str, Any]:
    if link == "":
        raise Mistake("give the id of a link")
    path = _PATH if link is None else f"{_PATH}/{urllib.parse.quote(link, safe='')}"
    code, answer = ask(conf, url, f"{path}/{action}" if action else path, "POST" if action else "GET")
    require(code == 200, answer)
    return answer


def _table(links: list[dict[str, Any]]) -> str:
    rows = [[_text(link[name]) for name in _COLUMNS.values()] for link in links]
    return table(list(_COLUMNS), rows, terminal_width())


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _words(link: dict[str, Any]) -> list[str]:
    """What a person should read of it: each thing once."""
    said = [link["alarm"], link["lastError"], *link["warnings"]]
    said += [f"{parked['events']} events parked: {parked['reason']}" for parked in link["parked"]]
    parked_reasons = [parked["reason"] for parked in link["parked"]]
    alarm_is_parking = link["alarm"] and any(reason in link["alarm"] for reason in parked_reasons)
    return list(dict.fromkeys(filter(None, said[1:] if alarm_is_parking else said)))
