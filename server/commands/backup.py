"""`penstock backup`: a copy of the store, whether the server runs or not."""

import json
import os
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from server.commands.admin_client import ask, json_option, require, url_option
from server.commands.progress import LOOK_S, Progress, follow, megabytes
from server.commands.serve import INTERRUPTED
from server.commands.terminal import Mistake, conf_option, configuration
from server.settings import Config

_PATH: Final = "/api/v1/backup"
_BEGUN: Final = 202
_STORE_FILE: Final = "store.json"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@conf_option
@click.option("--data", help="Data directory; overrides store.path.")
@url_option
@json_option
def command(directory: Path, conf: Path | None, data: str | None, url: str | None, as_json: bool) -> None:
    """Copy the store into DIRECTORY, which is new or empty.

    A running server makes the copy itself and goes on taking events; it writes as its own user, so DIRECTORY
    is a path on its machine. All that was acknowledged before the backup began is in it: events, progress of
    the links, dead letters. On the file system of the data directory the log's closed segments are
    hard-linked (they keep their room until the backup is deleted); on another one everything is copied.

    Not in it: the configuration file, the data directory's secret.key (without which stored secrets cannot be
    read: keep it apart), and no Postgres, the embedded one included. Dump that afterwards with pg_dump; the
    line to run is printed.
    """
    flags = {"store.path": data}
    config = configuration(conf, flags)
    target = Path(os.path.abspath(directory))  # noqa: PTH100 - links stay: the server's view may differ
    try:
        said = None if url else _of_a_stopped_server(config, target)
        said = said or _of_a_running_server(conf, url, target, flags)
    except KeyboardInterrupt:
        click.echo("stopped; nothing is left of the backup", err=True)
        raise SystemExit(INTERRUPTED) from None
    click.echo(json.dumps(said, indent=2) if as_json else _in_words(said, config))


def _of_a_stopped_server(config: Config, target: Path) -> dict[str, Any] | None:
    """Open the store and copy it; None if a process has it open, or it is another user's."""
    from server.clock import SystemClock
    from server.routes.backup import described
    from server.translation.store import store_options
    from storage import StorageError, Store, StoreLocked, Transfer

    try:
        owner = (config.data_dir / _STORE_FILE).stat().st_uid
    except PermissionError:
        return None
    except OSError as error:
        raise Mistake(f"there is no store in {config.data_dir}: {error.strerror}") from error
    if owner != os.geteuid():
        # What we would write into the directory, the server could not read at its next start.
        click.echo(f"the store is user {owner}'s: only the server, or that user, can copy it", err=True)
        return None
    transfer = Transfer()
    try:
        store = Store.open(config.data_dir, store_options(config), SystemClock())
        try:
            manifest = follow(lambda: store.back_up(target, transfer), transfer)
        finally:
            store.close()
    except StoreLocked:
        return None
    except StorageError as error:
        raise Mistake(str(error)) from error
    return {"state": "done", "directory": str(target), **described(manifest)}


def _of_a_running_server(
    conf: Path | None, url: str | None, target: Path, flags: Mapping[str, str | None]
) -> dict[str, Any]:
    """Have the server make it, and wait for the end."""
    query = urllib.parse.urlencode({"directory": str(target)}, errors="surrogateescape")
    progress = Progress()
    try:
        status, said = ask(conf, url, f"{_PATH}?{query}", "POST", flags)
        require(status == _BEGUN, said)
        while said["state"] == "running":
            progress.show(said["doing"], said["doneBytes"], said["totalBytes"])
            said = _after_a_while(conf, url, flags)
    except KeyboardInterrupt:
        if not _stopped(conf, url, target, flags):
            raise Mistake(f"it was too late to stop it: the backup in {target} is complete") from None
        raise
    finally:
        progress.end()
    require(said["state"] == "done", said)
    return said


def _after_a_while(conf: Path | None, url: str | None, flags: Mapping[str, str | None]) -> dict[str, Any]:
    time.sleep(LOOK_S)
    said = ask(conf, url, _PATH, flags=flags)[1]
    require("state" in said, said)
    return said


def _stopped(conf: Path | None, url: str | None, target: Path, flags: Mapping[str, str | None]) -> bool:
    """Have the server end it, which it may have begun without having said so yet; False if it is complete."""
    said = ask(conf, url, _PATH, flags=flags)[1]
    while said.get("state") == "running" and said["directory"] == str(target):  # not somebody else's
        ask(conf, url, _PATH, "DELETE", flags)
        said = _after_a_while(conf, url, flags)
    return (said.get("state"), said.get("directory")) != ("done", str(target))


def _in_words(said: dict[str, Any], config: Config) -> str:
    segments, linked = said["segments"], said["segmentsLinked"]
    how = f"{linked} linked, {segments - linked} copied"
    if not linked and segments > 1:
        how = "all copied: no hard link can go there from the data directory"
    lines = [
        f"backed up store {said['storeId']} to {said['directory']}",
        f"  {megabytes(said['sizeBytes'])}, {segments} segments of the log: {how}",
        f"  has every event that was acknowledged before {said['beganAt']}",
        "  has not: the configuration file, secret.key, any Postgres",
    ]
    if missing := said["segmentsMissing"]:
        numbers = ", ".join(map(str, missing))
        lines.append(f"  the store itself has these segments no more (quarantined or lost): {numbers}")
    if config.needs_embedded and (line := _dump_line(config)):
        lines.append(f"  the embedded Postgres is dumped by:\n    {line}")
    return "\n".join(lines)


def _dump_line(config: Config) -> str | None:
    from server.embedded import EmbeddedError, EmbeddedPostgres

    embedded = EmbeddedPostgres(config.data_dir)
    try:
        address = embedded.running()
        return embedded.dump_line(address, "events.dump") if address is not None else None
    except EmbeddedError:
        return None
