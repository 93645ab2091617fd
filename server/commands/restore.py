"""`penstock restore`: a data directory from a backup."""

import os
from pathlib import Path
from typing import Final

import click

from server.commands.progress import follow, megabytes
from server.commands.serve import INTERRUPTED
from server.commands.terminal import Mistake, conf_option, configuration

_KEY_FILE: Final = "secret.key"
_BESIDE: Final = ("penstock.yaml", "postgres", _KEY_FILE)
"""What the server keeps in the data directory and no backup has."""


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, exists=True, file_okay=False))
@conf_option
@click.option("--data", help="Data directory to make; overrides store.path.")
def command(backup: Path, conf: Path | None, data: str | None) -> None:
    """Make the data directory from BACKUP, checking every file against its checksum.

    The directory must be new, or hold nothing but what lies there beside the store (penstock.yaml, postgres,
    secret.key). Nothing is left of it if a file is damaged or missing; each such file is named.

    The store gets a new id. When it starts, each link goes on at its destination where the store of the
    backup came to; that store, should it still run, stops delivering. What it delivered after the backup is
    not delivered again. One exception, said in the link's status: if it also refused or parked events after
    the backup, only it knew which, so all since the backup's checkpoint is delivered again; rows with a merge
    key are replaced, others are there twice. To look at a backup without all this, start it with its links
    disabled.
    """
    config = configuration(conf, {"store.path": data})
    target = config.data_dir
    _require_owner(target)
    from server.lookup import iso_time
    from storage import StorageError, Transfer, restore

    transfer = Transfer()
    try:
        made = follow(lambda: restore(backup, target, transfer, _BESIDE), transfer)
    except StorageError as error:
        raise Mistake(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped; nothing is left of the restore", err=True)
        raise SystemExit(INTERRUPTED) from None
    manifest = made.manifest
    click.echo(f"restored store {manifest.identity.store_id} to {target}, as store {made.store_id}")
    click.echo(f"  {len(manifest.files)} files, {megabytes(manifest.size_bytes)}, every checksum right")
    click.echo(f"  has every event that was acknowledged before {iso_time(manifest.began_ms)}, none after")
    click.echo(f"  {iso_time(manifest.ended_ms)}; what else the destinations have stays there")
    click.echo("  when it starts, its links go on where that store came to; that one stops delivering then")
    if not (target / _KEY_FILE).exists():
        click.echo(f"  put {_KEY_FILE} of the former data directory into it: stored secrets need it")
    if manifest.missing:
        click.echo(f"  segments that the store had lost before: {', '.join(map(str, manifest.missing))}")


def _require_owner(target: Path) -> None:
    """What root makes in another user's directory, the server could not read."""
    try:
        owner = target.stat().st_uid
    except OSError:
        return
    if owner != os.geteuid():
        raise Mistake(f"{target} belongs to user {owner}: run this as that user, as the server is")
