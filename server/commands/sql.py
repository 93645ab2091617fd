"""`penstock sql`: look at the rows that arrived, without psql."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from server.catalog import Destination
from server.commands.terminal import Mistake, conf_option, configuration, table, terminal_width
from server.settings import Config

if TYPE_CHECKING:
    from asyncpg import Record

CONNECT_TIMEOUT_S = 15


@click.command()
@click.argument("statement")
@conf_option
@click.option("--destination", "destination_id", help="Which destination, if there are several.")
@click.option("--write", is_flag=True, help="Allow statements that change something.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per row.")
def command(
    statement: str, conf: Path | None, destination_id: str | None, write: bool, as_json: bool
) -> None:
    """Run one SQL statement in a destination and print the rows.

    \b
    penstock sql "select * from events limit 5"
    """
    config = configuration(conf, {})
    destination = _chosen(config, destination_id)
    headings, rows, status = asyncio.run(_run(_url(config, destination), destination, statement, write))
    if as_json:
        for row in rows:
            click.echo(json.dumps(dict(zip(headings, row, strict=True)), default=str, ensure_ascii=False))
        return
    if headings:
        click.echo(table(headings, [[_text(value) for value in row] for row in rows], terminal_width()))
        click.echo(f"({len(rows)} row{'' if len(rows) == 1 else 's'})")
    else:
        click.echo(status)


def _chosen(config: Config, id_: str | None) -> Destination:
    known = ", ".join(config.destinations) or "none"
    if id_ is None and len(config.destinations) == 1:
        return next(iter(config.destinations.values()))
    if id_ is None or id_ not in config.destinations:
        raise Mistake(f"which destination? Give --destination ID (known: {known})")
    return config.destinations[id_]


def _url(config: Config, destination: Destination) -> str:
    source = destination.datasource
    if source is not None:
        login = f"{quote(source.username, safe='')}:{quote(source.password, safe='')}"
        # As options, host may be an IPv6 address or the folder of a socket.
        place = {"host": source.host, "port": str(source.port)}
        options = urlencode({"sslmode": "prefer", **source.parameters, **place})
        return f"postgresql://{login}@/{quote(source.db, safe='')}?{options}"
    from server.embedded import EmbeddedError, EmbeddedPostgres

    try:
        address = EmbeddedPostgres(config.data_dir).running()
    except EmbeddedError as error:
        raise Mistake(str(error)) from error
    if address is None:
        raise Mistake("the embedded Postgres is not running: start Penstock first (make run)")
    return f"{address.url}?sslmode=disable"


async def _run(
    url: str, destination: Destination, statement: str, write: bool
) -> tuple[list[str], list[Any], str]:
    import asyncpg

    schema = destination.datasource.schema if destination.datasource else destination.schema
    settings = {
        "search_path": f'"{schema}", public',
        "default_transaction_read_only": "off" if write else "on",
    }
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Mistake(f"cannot connect to destination {destination.id}: {error}") from error
    try:
        prepared = await connection.prepare(statement)
        rows: list[Record] = await prepared.fetch()
        headings = [attribute.name for attribute in prepared.get_attributes()]
        return headings, [tuple(row.values()) for row in rows], prepared.get_statusmsg()
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise Mistake(f"{error}; add --write to allow it") from error
    except asyncpg.UndefinedTableError as error:
        raise Mistake(f"{error}; a table appears with the first event that is delivered to it") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Mistake(str(error)) from error
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


def _text(value: object) -> str:
    return "" if value is None else str(value)
