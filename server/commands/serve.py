"""`penstock serve`: one process, until a signal ends it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from server import logs
from server.commands.terminal import Mistake, conf_option, configuration
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


def serve(config: Config, beside: Ready | None = None) -> int:
    """Run the server to its end and return the exit status; `beside` runs beside it. Raises `Mistake`."""
    gc.disable()  # imports leave nothing to collect; on again once they are done (server/first_stage.py)
    logs.configure(config.logging.level, config.logging.format, config.server.name)
    import uvloop

    from server.lifecycle import serve as serve_forever

    async def run() -> int:
        task = asyncio.ensure_future(beside()) if beside is not None else None
        try:
            return await serve_forever(config)
        finally:
            if task is not None:
                task.cancel()

    try:
        return uvloop.run(run())
    except KeyboardInterrupt:
        return INTERRUPTED
    except _mistakes() as error:
        raise Mistake(str(error)) from error


def _mistakes() -> tuple[type[Exception], ...]:
    """What a user can correct. Looked up once something was raised: no start waits for these modules."""
    from server.lifecycle import CannotListenError
    from server.management import SecretError
    from storage import StorageError

    return CannotListenError, ConfigErrors, SecretError, StorageError
