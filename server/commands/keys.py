"""`penstock keys`: API keys of the management API, whether the server runs or not."""

import asyncio
import json
import os
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click

from server.catalog import moment_ms
from server.commands.admin_client import KEYS_PATH, ask, json_option, require, url_option
from server.commands.terminal import Mistake, conf_option, configuration, table, terminal_width
from server.management import ROLES, ApiKeys, Audit, Caller, NotFound, Role, SecretBox, SecretError
from server.settings import Config

_ACTOR: Final = Caller("command-line", "admin")
_COLUMNS: Final = {
    "key": "id",
    "role": "role",
    "name": "name",
    "secret": "hint",
    "made": "createdAt",
    "last used": "lastUsed",
    "expires": "expiresAt",
}
Act = Callable[[ApiKeys], Awaitable[dict[str, Any]]]


@click.group()
def command() -> None:
    """API keys of the management API: make, list, delete.

    A running server is asked (server.admin_token); the store of a stopped one is opened.
    """


@command.command()
@conf_option
@url_option
@click.option("--role", type=click.Choice(ROLES), default="admin", show_default=True, help="What it may do.")
@click.option("--name", default="", help="For people.")
@click.option("--expires", metavar="TIME", help="When it ends (2027-01-31T00:00:00Z). Default: never.")
def create(conf: Path | None, url: str | None, role: Role, name: str, expires: str | None) -> None:
    """Make a key and print it, keyId:keySecret. It is shown here and never again."""
    expires_ms = None if expires is None else moment_ms(expires)
    if expires is not None and (expires_ms is None or expires_ms <= time.time() * 1000):
        raise Mistake(f"--expires {expires} is not a time to come; write 2027-01-31T00:00:00Z")

    async def make(keys: ApiKeys) -> dict[str, Any]:
        return {"key": (await keys.create(role, _ACTOR, name, expires_ms))[1]}

    wish = {"role": role, "name": name, "expiresAt": expires}
    click.echo(_done(conf, url, make, KEYS_PATH, "POST", wish)["key"])


@command.command(name="list")
@conf_option
@url_option
@json_option
def list_keys(conf: Path | None, url: str | None, as_json: bool) -> None:
    """Every key, without its secret."""
    from server.routes.user_keys import described

    async def read(keys: ApiKeys) -> dict[str, Any]:
        return {"keys": [described(key) for key in keys.all()]}

    answer = _done(conf, url, read, KEYS_PATH)
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    rows = [[str(key[field] or "") for field in _COLUMNS.values()] for key in answer["keys"]]
    click.echo(table(list(_COLUMNS), rows, terminal_width()) if rows else "no keys")


@command.command()
@click.argument("key_id")
@conf_option
@url_option
def delete(key_id: str, conf: Path | None, url: str | None) -> None:
    """Revoke a key: who sends it is refused from now on."""
    key_id = key_id.partition(":")[0]

    async def revoke(keys: ApiKeys) -> dict[str, Any]:
        return {"id": (await keys.delete(key_id, _ACTOR)).id}

    if not key_id:
        raise Mistake("give the id of a key")
    answer = _done(conf, url, revoke, f"{KEYS_PATH}/{urllib.parse.quote(key_id, safe='')}", "DELETE")
    click.echo(f"{answer['id']} is revoked")


def _done(
    conf: Path | None, url: str | None, act: Act, path: str, method: str = "GET", wish: object = None
) -> dict[str, Any]:
    """What the store or the running server says. Raises Mistake."""
    if url is None and (said := _with_the_store(configuration(conf, {}), act)) is not None:
        return said
    status, answer = ask(conf, url, path, method, body=wish)
    require(status == HTTPStatus.OK, answer)
    return answer


def _with_the_store(config: Config, act: Act) -> dict[str, Any] | None:
    """Act on the store of a stopped server; None if a process has it open, or it is another user's: what we
    would write there, that user's server could not read afterwards. Raises Mistake.
    """
    from server.clock import SystemClock
    from server.translation.store import store_options
    from storage import StorageError, Store, StoreLocked

    clock = SystemClock()
    if config.data_dir.exists() and config.data_dir.stat().st_uid != os.geteuid():
        return None
    try:
        store = Store.open(config.data_dir, store_options(config), clock)
        try:
            box, audit = SecretBox.open(config.data_dir), Audit(store.catalog, clock)
            return asyncio.run(_run(act, ApiKeys(store.catalog, box, audit, clock)))
        finally:
            store.close()
    except StoreLocked:
        return None
    except (NotFound, SecretError, StorageError) as error:
        raise Mistake(str(error)) from error


async def _run(act: Act, keys: ApiKeys) -> dict[str, Any]:
    return await act(keys)
