"""`penstock check`: is this configuration right?"""

import asyncio
from pathlib import Path

import click

from server.commands.terminal import Mistake, conf_option, configuration
from server.settings import Config


@click.command()
@conf_option
@click.option("--connect", is_flag=True, help="Also connect to every destination, create, insert and drop.")
def command(conf: Path | None, connect: bool) -> None:
    """Name every fault of a configuration file, with its path. Exit status 2 if there are any."""
    config = configuration(conf, {})
    counts = (config.streams, "stream"), (config.destinations, "destination"), (config.links, "link")
    listed = ", ".join(f"{len(objects)} {noun}{'' if len(objects) == 1 else 's'}" for objects, noun in counts)
    click.echo(f"ok: {listed}")
    if connect:
        asyncio.run(_connect(config))


async def _connect(config: Config) -> None:
    from server.embedded import EmbeddedPostgres
    from server.translation.delivery import postgres_config
    from server.warehouse import Destination, WarehouseError

    failed = 0
    for id_, destination in config.destinations.items():
        address = EmbeddedPostgres(config.data_dir).running() if destination.embedded else None
        if destination.embedded and address is None:
            click.echo(f"{id_}: the embedded Postgres is not running; it starts with the server")
            continue
        warehouse = Destination(postgres_config(destination, address), connections_max=1)
        try:
            await warehouse.open()
            await warehouse.probe()
            click.echo(f"{id_}: ok")
        except WarehouseError as error:
            failed += 1
            click.echo(f"{id_}: {error}", err=True)
        finally:
            await warehouse.close()
    if failed:
        raise Mistake(f"{failed} of {len(config.destinations)} destinations cannot be used")
