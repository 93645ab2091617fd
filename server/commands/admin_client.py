"""Commands that ask the running server: its admin endpoints, found by what it wrote down."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from server.commands.terminal import Mistake, configuration
from server.settings import ADDRESS_FILE, Config

TIMEOUT_S = 15
KEYS_PATH = "/api/user/keys"
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}

url_option = click.option("--url", help="Address of the server, if it is not the one of the configuration.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the server's answer as it is.")


def ask(
    conf: Path | None,
    url: str | None,
    path: str,
    method: str = "GET",
    flags: Mapping[str, str | None] | None = None,
    body: object = None,
    if_match: str | None = None,
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer. `flags` override the configuration; a `body` is sent as JSON; `if_match`
    makes a change depend on an ETag. Raises Mistake if there is no answer.
    """
    return ask_server(configuration(conf, flags or {}), url, path, method, body, if_match)


def ask_server(
    config: Config,
    url: str | None,
    path: str,
    method: str = "GET",
    body: object = None,
    if_match: str | None = None,
) -> tuple[int, dict[str, Any]]:
    """As `ask`, with the configuration at hand."""
    if not config.server.admin_token:
        raise Mistake("the configuration has no server.admin_token, so the server answers no admin request")
    address = _checked(url) if url is not None else _running(config)
    headers = {"X-Admin-Token": config.server.admin_token, "Content-Type": "application/json"}
    if if_match is not None:
        headers["If-Match"] = if_match
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address.rstrip("/") + path, content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, dict(json.loads(answer.read()))
    except urllib.error.HTTPError as error:
        body = _body(error)
        if error.code == HTTPStatus.UNAUTHORIZED:
            words = f"{address} says: {body.get('message')}; is another server running there? (--url, --conf)"
            raise Mistake(words) from error
        return error.code, body
    except (OSError, ValueError, TypeError, http.client.HTTPException) as error:
        raise Mistake(f"no answer from {address}: {error}; is the server running there? (--url)") from error


def _checked(url: str) -> str:
    """What --url says, if requests can go there. Raises Mistake."""
    try:
        parts = urllib.parse.urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise Mistake(f"--url {url} is no address of a server; write http://host:port")
    return url


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


def require(satisfied: bool, answer: dict[str, Any]) -> None:
    """Raises Mistake with what the server said, unless satisfied."""
    if not satisfied:
        raise Mistake(str(answer.get("message", "the server answered something else than expected")))
