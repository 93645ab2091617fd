"""From the checked configuration to the values that each package takes. No decisions, no state."""

from collections.abc import Iterable

from server.access import HashedKey, RateLimit, StreamKeys
from server.catalog import Destination, Stream, WriteKey, moment_ms
from server.catalog import RateLimit as CatalogRateLimit
from server.delivery import LinkConfig, Patience, StartFrom
from server.embedded import PostgresAddress
from server.ingest import Limits, stream_seed
from server.routes.body import BodyLimits
from server.settings import Config
from server.warehouse import Limits as WarehouseLimits
from server.warehouse import PostgresConfig
from storage import StoreOptions

_STALL_RATIO = 4 / 3


def store_options(config: Config) -> StoreOptions:
    """What storage takes of the settings."""
    store = config.store
    return StoreOptions(
        segment_bytes=store.segment_bytes,
        retention_s=store.retention_s,
        retention_bytes_max=store.retention_bytes_max,
        trim_lag_s=store.trim_lag_s,
        free_bytes_min=store.free_bytes_min,
        dedupe_window_s=store.dedupe_window_s,
        dedupe_bytes_max=store.dedupe_bytes_max,
        pending_bytes_max=store.pending_bytes_max,
        wal_bytes_max=store.wal_bytes_max,
    )


def body_limits(config: Config) -> BodyLimits:
    """Bounds of a request body."""
    return BodyLimits(
        config.limits.body_bytes_max, config.server.in_flight_bytes_max, config.limits.body_timeout_s
    )


def event_limits(config: Config) -> Limits:
    """Bounds of the events in a body."""
    return Limits(config.limits.event_bytes_max, config.limits.batch_events_max)


def stream_keys(stream: Stream) -> StreamKeys:
    """What access needs to know of a stream."""
    return StreamKeys(
        stream_id=stream.id,
        id_seed=stream_seed(stream.id),
        browser_keys=_keys(stream.browser_keys),
        server_keys=_keys(stream.server_keys),
        origins=stream.origins,
        domains=stream.domains,
        domain_fallback=stream.domain_fallback,
        browser_limit=_rate_limit(stream.rate_limit),
        server_limit=_rate_limit(stream.server_rate_limit),
        ip_policy=stream.ip_policy,
    )


def _keys(keys: Iterable[WriteKey]) -> tuple[str | HashedKey, ...]:
    """As access knows them: by their text, or by the digest that the store has of them."""
    hashed = (HashedKey(key.id, bytes.fromhex(key.hash)) if key.hash else key.token for key in keys)
    return tuple(key for key in hashed if key)


def _rate_limit(limit: CatalogRateLimit | None) -> RateLimit | None:
    return RateLimit(limit.events_per_second, limit.burst) if limit is not None else None


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
