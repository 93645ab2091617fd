"""What the columns that the collector answers for are called in each layout. Pure; any thread.

Other modules of the server know these columns by what they hold (the message id that makes rows one, the
time of receipt that a table may be partitioned by), never by a name of their own.
"""

from typing import Final, Literal, NamedTuple

LayoutName = Literal["segment-single-table", "segment", "jitsu-legacy", "passthrough"]

OUR_COLUMNS: Final = frozenset({"_stream", "_unmapped_data"})
"""Filled by the warehouse itself; no key of an event feeds them."""


class Stamps(NamedTuple):
    """The columns of one layout.

    message_id, timestamp, received_at   where those fields of an event are.
    guarded                              columns that make rows one, or that the collector vouches for: no
                                         other key of an event feeds them, also not where the field is absent.
    """

    message_id: str
    timestamp: str
    received_at: str
    guarded: frozenset[str]


_SNAKE: Final = Stamps(
    "message_id",
    "timestamp",
    "received_at",
    OUR_COLUMNS | {"context_ip", "message_id", "received_at", "request_ip"},
)
_ORIGINAL: Final = Stamps(
    "messageId",
    "timestamp",
    "receivedAt",
    OUR_COLUMNS | {"context_ip", "messageId", "receivedAt", "requestIp"},
)
_LEGACY: Final = Stamps(
    "eventn_ctx_event_id",
    "_timestamp",
    "_timestamp",
    OUR_COLUMNS | {"_timestamp", "anon_ip", "api_key", "event_type", "eventn_ctx_event_id", "source_ip"},
)


def stamps_of(layout: LayoutName, keep_original_names: bool) -> Stamps:
    """The stamped columns of a link's tables."""
    if layout == "jitsu-legacy":
        return _LEGACY
    stamps = _ORIGINAL if keep_original_names or layout == "passthrough" else _SNAKE
    if layout == "segment":  # a property may be called `type` where its tables have none
        return stamps
    return stamps._replace(guarded=stamps.guarded | {"type"})
