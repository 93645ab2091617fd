"""From the checked configuration to the values that storage takes. No decisions, no state."""

from server.settings import Config
from storage import StoreOptions


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
