"""`penstock serve`: one process, until a signal ends it."""

import asyncio
import contextlib
import errno
import gc
import os
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from server import logs
from server.commands.terminal import Mistake, conf_option, configuration
from server.configfile import owner_of
from server.settings import Config, ConfigErrors

Ready = Callable[[], Awaitable[None]]
INTERRUPTED = 130


@click.command()
@conf_option
@click.option("--data", help="Data directory; overrides store.path.")
@click.option("--host", help="Address to listen on; overrides server.host.")
@click.option("--port", help="Port to listen on; overrides server.port.")
def command(conf: Path | None, data: str | None, host: str | None, port: str | None) -> None:
    """Start the server with a configuration file.

    SIGTERM and Ctrl-C stop it in order: what was answered is on disk, what can be delivered in time is.
    """
    config = configuration(conf, {"store.path": data, "server.host": host, "server.port": port})
    raise SystemExit(serve(config))


def keep_others_out() -> None:
    """Whatever the umask: nobody else may write what the server makes. Its address, say, is where the command
    line sends the admin token.
    """
    os.umask(os.umask(0o022) | 0o022)


def serve(config: Config, beside: Ready | None = None) -> int:
    """Run the server to its end and return the exit status; `beside` runs beside it. Raises `Mistake`."""
    keep_others_out()
    gc.disable()  # imports leave nothing to collect; on again once they are done (server/first_stage.py)
    logs.configure(config.logging.level, config.logging.format, config.server.name)
    import uvloop

    from server.lifecycle import serve as serve_forever
    from server.lifecycle import with_address

    async def run(resolved: Config) -> int:
        task = asyncio.ensure_future(beside()) if beside is not None else None
        try:
            return await serve_forever(resolved)
        finally:
            if task is not None:
                task.cancel()

    try:
        return uvloop.run(run(with_address(config)))
    except KeyboardInterrupt:
        return INTERRUPTED
    except _mistakes() as error:
        whose = foreign_files(config.data_dir) if os.strerror(errno.EACCES) in str(error) else ""
        raise Mistake(f"{error}{whose}") from error


def foreign_files(folder: Path) -> str:
    """What to do where files are another user's, who started the server on this folder once."""
    us = os.geteuid()
    found = (path for path in (folder, *folder.rglob("*")) if path.lstat().st_uid != us)
    with contextlib.suppress(OSError):
        if (path := next(found, None)) is not None:
            owner, quoted = owner_of(path), shlex.quote(str(folder))
            return (
                f"; {path} belongs to {owner}: as root, chown -R {us} {quoted}, or start Penstock as {owner}"
            )
    return ""


def _mistakes() -> tuple[type[Exception], ...]:
    """What a user can correct. Looked up once something was raised: no start waits for these modules."""
    from server.lifecycle import CannotListenError
    from server.management import SecretError
    from storage import StorageError

    return CannotListenError, ConfigErrors, SecretError, StorageError
