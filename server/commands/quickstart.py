"""`penstock run`: from nothing to a running server with keys, a stream, and a Postgres.

The configuration is written once, with secrets made once (readable by its owner only), and is the user's from
then on.
"""

import asyncio
import contextlib
import os
import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

import click

from server.catalog import Stream, WriteKey
from server.commands.admin_client import KEYS_PATH, ask_server
from server.commands.serve import keep_others_out, serve
from server.commands.terminal import QUICKSTART_CONF, Mistake, configuration
from server.settings import Config

READY_TIMEOUT_S = 60.0
PROBE_INTERVAL_S = 0.1

TEMPLATE = """\
# Written once by `penstock run`; yours from now on. Every setting, with its default and its reason:
# conf/penstock.yaml
server:
  host: 127.0.0.1
  port: 3049
  admin_token: "{admin_token}"
  development: true # pages on localhost may use the browser key; list real sites in origins below

store:
  path: . # this folder

streams:
  site:
    name: My site
    browser_keys: ["site-b:{browser_secret}"]
    server_keys: ["site-s:{server_secret}"]
    origins: []

destinations:
  warehouse:
    type: postgres
    embedded: true # the Postgres in this folder; for one of your own, write a datasource instead

links:
  site-warehouse: {{from: site, to: warehouse, data: {{mode: stream}}}}
"""


@click.command()
@click.option("--data", default="data", show_default=True, help="Folder for everything that is kept.")
@click.option("--host", help="Address to listen on; overrides the configuration.")
@click.option("--port", help="Port to listen on; overrides the configuration.")
def command(data: str, host: str | None, port: str | None) -> None:
    """Start with everything made for you: configuration, keys and a Postgres, all in one folder."""
    if not data:
        raise Mistake("--data is empty: give the folder for everything that is kept")
    keep_others_out()
    folder = Path(data)
    conf = folder / "penstock.yaml"
    write_once(folder, conf)
    config = configuration(conf, {"server.host": host, "server.port": port})
    click.echo(f"Starting, with {conf} …", err=True)

    async def tell() -> None:
        """Once it takes events and rows can be looked at; a Postgres that does not start is in the log."""
        if await _within(READY_TIMEOUT_S, lambda: _answers_ready(config)):
            await _within(READY_TIMEOUT_S, lambda: asyncio.to_thread(_rows_can_be_seen, config))
            click.echo(next_steps(config, conf, await asyncio.to_thread(first_key, config)))

    raise SystemExit(serve(config, tell))


def write_once(folder: Path, conf: Path) -> None:
    """Make the folder and the configuration if they are not there; a crash leaves none or all of it."""
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if conf.exists():
            return
        text = TEMPLATE.format(
            admin_token=secrets.token_urlsafe(24),
            browser_secret=secrets.token_urlsafe(18),
            server_secret=secrets.token_urlsafe(18),
        )
        unfinished = conf.with_name(conf.name + ".new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(conf)
    except OSError as error:
        raise Mistake(f"cannot write {conf}: {error.strerror}; choose another folder with --data") from error


async def _within(bound_s: float, satisfied: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until it is; False if that takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(bound_s):
            while not await satisfied():  # noqa: ASYNC110 - it is the outside that is asked
                await asyncio.sleep(PROBE_INTERVAL_S)
            return True
    return False


def _rows_can_be_seen(config: Config) -> bool:
    from server.embedded import EmbeddedPostgres

    return not config.needs_embedded or EmbeddedPostgres(config.data_dir).running() is not None


async def _answers_ready(config: Config) -> bool:
    try:
        reader, writer = await asyncio.open_connection(_local_host(config), config.server.port)
    except OSError:
        return False
    try:
        writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()


def _local_host(config: Config) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.server.host, config.server.host)


def first_key(config: Config) -> str | None:
    """An API key, if the running server has none: made now, and nowhere to be seen later."""
    with contextlib.suppress(Mistake):
        status, answer = ask_server(config, None, KEYS_PATH)
        if status == HTTPStatus.OK and not answer["keys"]:
            status, answer = ask_server(config, None, KEYS_PATH, "POST", {"name": "made by penstock run"})
            return str(answer["key"]) if status == HTTPStatus.OK else None
    return None


def next_steps(config: Config, conf: Path, api_key: str | None) -> str:
    """What a newcomer needs to see once the server runs."""
    host = _local_host(config)
    url = config.server.public_url or f"http://{f'[{host}]' if ':' in host else host}:{config.server.port}"
    lines = [f"Penstock takes events at {url}", ""]
    stream = next(iter(config.streams.values()), None)
    if stream is not None:
        lines += [f"  {kind} write key  {keys[0].token}" for kind, keys in _kinds(stream) if keys]
    if api_key is not None:
        lines += [f"  API key            {api_key}   (shown once; `{_program()} keys create` makes another)"]
    lines += [f"  admin token        {config.server.admin_token}", f"  configuration      {conf}", ""]
    if stream is not None and stream.server_keys:
        event = """'{"type":"track","event":"First event","userId":"user-1"}'"""
        key = shlex.quote(f"X-Write-Key: {stream.server_keys[0].token}")
        lines += ["Send an event:", "", f"  curl {url}/v1/track -H {key} -d {event}", ""]
    lines += ["See the rows:", "", f"  {_program()} sql{_conf_flag(conf)} {shlex.quote(EXAMPLE_SQL)}", ""]
    lines += ["Ctrl-C stops it; start it again the same way, everything is kept."]
    return "\n".join(lines)


EXAMPLE_SQL = "select timestamp, type, event, user_id from events order by timestamp desc limit 10"


def _kinds(stream: Stream) -> list[tuple[str, tuple[WriteKey, ...]]]:
    return [("browser", stream.browser_keys), ("server ", stream.server_keys)]


def _conf_flag(conf: Path) -> str:
    return "" if conf == QUICKSTART_CONF else f" --conf {shlex.quote(str(conf))}"


def _program() -> str:
    """How this very command line was started, as the user would type it."""
    program = Path(sys.prefix) / "bin" / "penstock"
    with contextlib.suppress(ValueError):
        program = program.relative_to(Path.cwd())
    return shlex.quote(str(program))
