"""From the checked configuration to the values that delivery takes. No decisions, no state."""

from server.catalog import Destination, moment_ms
from server.delivery import LinkConfig, Patience, StartFrom
from server.embedded import PostgresAddress
from server.settings import Config
from server.warehouse import Limits as WarehouseLimits
from server.warehouse import PostgresConfig

_STALL_RATIO = 4 / 3


def link_configs(config: Config) -> list[LinkConfig]:
    """The enabled links."""
    delivery = config.delivery
    return [
        LinkConfig(
            id=link.id,
            stream_id=link.from_id,
            destination_id=link.to_id,
            generation=1,
            mode=link.data.mode,
            layout=link.data.data_layout,
            keep_original_names=link.data.keep_original_names,
            primary_key=link.data.primary_key,
            deduplicate=link.data.deduplicate,
            timestamp_column=link.data.timestamp_column,
            schema_freeze=link.data.schema_freeze,
            batch_events_max=link.data.batch_size or delivery.batch_events_max,
            batch_bytes_max=delivery.batch_bytes_max,
            flush_interval_s=delivery.flush_interval_s,
            frequency_minutes=link.data.frequency,
            table_name=link.data.table_name,
            table_name_template=link.data.table_name_template,
            partition=link.data.partition,
            start_from=_start_from(link.data.start_from),
            backlog_bytes_max=delivery.backlog_bytes_max,
        )
        for link in config.links.values()
        if not link.data.disabled
    ]


def _start_from(text: str | None) -> StartFrom | None:
    if text is None:
        return None
    if text == "now":
        return "now"
    moment = moment_ms(text)
    return "oldest" if moment is None else moment


def patience(config: Config) -> Patience:
    """How long a link waits after a failed attempt."""
    return Patience(retry_cap_s=config.delivery.backoff_max_s)


def warehouse_limits(config: Config) -> WarehouseLimits:
    """Bounds of a destination. A stalled wire is given up later than a statement: a slow server answers
    first.
    """
    statement_s = config.delivery.statement_timeout_s
    return WarehouseLimits(statement_timeout_s=statement_s, stall_timeout_s=statement_s * _STALL_RATIO)


def postgres_config(destination: Destination, embedded: PostgresAddress | None) -> PostgresConfig:
    """Where a destination is. `embedded` is the running embedded server, needed if the destination lives
    there.
    """
    source = destination.datasource
    if source is not None:
        return PostgresConfig(
            host=source.host,
            port=source.port,
            database=source.db,
            schema=source.schema,
            username=source.username,
            password=source.password,
            parameters=source.parameters,
        )
    assert embedded is not None, "a destination without a datasource is embedded, and that server runs by now"
    return PostgresConfig(
        host=embedded.host,
        port=embedded.port,
        database=embedded.database,
        schema=destination.schema,
        username=embedded.username,
        password=embedded.password,
        sslmode="disable",
    )
