"""`penstock events`: where is my event? Asks the running server over its admin endpoints."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import click

from server.commands.terminal import Mistake, conf_option, configuration, table, terminal_width
from server.settings import ADDRESS_FILE, Config

TIMEOUT_S = 15
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}

url_option = click.option("--url", help="Address of the server, if it is not the one of the configuration.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as it is.")


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
    status, answer = _ask(conf, url, "/api/v1/events?" + urllib.parse.urlencode(parameters))
    _require(status == 200, answer)
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
    status, answer = _ask(
        conf, url, "/api/v1/events/" + urllib.parse.quote(message_id, safe="", errors="replace")
    )
    _require(status in (200, 404) and "events" in answer, answer)
    if status == 404 and not as_json:
        since = (answer.get("horizon") or {}).get("since") or "the server has no events"
        raise Mistake(f"no event with messageId {message_id} (looked back to: {since})")
    _print(answer, as_json)
    raise SystemExit(0 if status == 200 else 1)


def _ask(conf: Path | None, url: str | None, path: str) -> tuple[int, dict[str, Any]]:
    config = configuration(conf, {})
    if not config.server.admin_token:
        raise Mistake("the configuration has no server.admin_token, so the server answers no admin request")
    address = url or _running(config)
    request = urllib.request.Request(
        address.rstrip("/") + path, headers={"X-Admin-Token": config.server.admin_token}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, _body(error)
    except (OSError, ValueError) as error:
        raise Mistake(f"no answer from {address}: {error}; is the server running there? (--url)") from error


def _running(config: Config) -> str:
    """Where the server listens: what it wrote into its data directory (flags may differ from the file)."""
    try:
        found = urllib.parse.urlsplit((config.data_dir / ADDRESS_FILE).read_text().strip())
        host, port = found.hostname or "", found.port
    except (OSError, ValueError):
        host, port = config.server.host, config.server.port
    host = ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _body(error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        body = json.loads(error.read())
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"message": f"the server answered {error.code}"}


def _require(satisfied: bool, answer: dict[str, Any]) -> None:
    if not satisfied:
        raise Mistake(str(answer.get("message", "the server answered something else than events")))


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
