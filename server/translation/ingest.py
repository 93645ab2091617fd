"""From the checked configuration to the values that whoever takes events takes. No decisions, no state."""

from collections.abc import Iterable

from server.access import HashedKey, RateLimit, StreamKeys
from server.catalog import RateLimit as CatalogRateLimit
from server.catalog import Stream, WriteKey
from server.ingest import Limits, stream_seed
from server.routes.body import BodyLimits
from server.settings import Config


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
