"""From request bytes to events for the WAL, and from the WAL to stamped events.

Pure: no HTTP, no storage, no clock.
"""

from server.ingest.bodies import body_api_key, body_write_key, file_api_key
from server.ingest.classic_bodies import decode_classic, decode_lines
from server.ingest.decode import decode_batch, decode_event
from server.ingest.head import UnknownHeadError
from server.ingest.inflate import inflate
from server.ingest.message_id import message_hash, stream_seed
from server.ingest.pixels import PixelDialect, pixel_event
from server.ingest.restore import restore, restorer
from server.ingest.values import (
    EVENT_TYPES,
    PATH_TYPES,
    Decoded,
    Event,
    Item,
    ItemError,
    KeyKind,
    Limits,
    Refusal,
    RequestFacts,
)

__all__ = [
    "EVENT_TYPES",
    "PATH_TYPES",
    "Decoded",
    "Event",
    "Item",
    "ItemError",
    "KeyKind",
    "Limits",
    "PixelDialect",
    "Refusal",
    "RequestFacts",
    "UnknownHeadError",
    "body_api_key",
    "body_write_key",
    "decode_batch",
    "decode_classic",
    "decode_event",
    "decode_lines",
    "file_api_key",
    "inflate",
    "message_hash",
    "pixel_event",
    "restore",
    "restorer",
    "stream_seed",
]
