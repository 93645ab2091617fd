"""`penstock events`: where is my event? Asks the running server over its admin endpoints."""

import json
import urllib.parse
from pathlib import Path
from typing import Any

import click

from server.commands.admin_client import ask, json_option, require, url_option
from server.commands.terminal import Mistake, conf_option, table, terminal_width


@click.group()
def command() -> None:
    """Where is my event? Ask the running server."""


@command.command()
@conf_option
@url_option
@json_option
@click.option("--stream", help="Only this stream.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
def tail(conf: Path | None, url: str | None, as_json: bool, stream: str | None, limit: int) -> None:
    """The newest events, and what became of each."""
    parameters = {"limit": str(limit)} | ({"stream": stream} if stream else {})
    status, answer = ask(conf, url, "/api/v1/events?" + urllib.parse.urlencode(parameters))
    require(status == 200, answer)
    _print(answer, as_json)


@command.command()
@click.argument("message_id")
@conf_option
@url_option
@json_option
def find(message_id: str, conf: Path | None, url: str | None, as_json: bool) -> None:
    """What became of one event. Exit status 1 if the server knows no event with this messageId."""
    if not message_id:
        raise Mistake("give the messageId of an event")
    status, answer = ask(
        conf, url, "/api/v1/events/" + urllib.parse.quote(message_id, safe="", errors="replace")
    )
    require(status in (200, 404) and "events" in answer, answer)
    if status == 404 and not as_json:
        since = (answer.get("horizon") or {}).get("since") or "the server has no events"
        raise Mistake(f"no event with messageId {message_id} (looked back to: {since})")
    _print(answer, as_json)
    raise SystemExit(0 if status == 200 else 1)


def _print(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    headings = ["accepted", "stream", "offset", "type", "event", "messageId", "links"]
    fields = ("acceptedAt", "stream", "offset", "type", "event", "messageId")
    rows = [[*(str(event.get(field) or "") for field in fields), _links(event)] for event in answer["events"]]
    click.echo(table(headings, rows, terminal_width()) if rows else "no events")


def _links(event: dict[str, Any]) -> str:
    said = []
    for link in event.get("links", ()):
        reason = f" ({link['reason']})" if link.get("reason") else ""
        said.append(f"{link['link']}: {link['state']}{reason}")
    return ", ".join(said) or "no link"
