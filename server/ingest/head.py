"""The head of a request as the WAL keeps it: what stamping needs to know, once for all its events.

Encoded as a MessagePack array whose first element is the version; a field is only ever added at the end,
with the default that heads written before it meant.
"""

from typing import Final

import msgspec

from server.ingest.values import Dialect, KeyKind, RequestFacts

VERSION: Final = 1


class Head(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`context` and `integrations` are the batch's own, as JSON text; `sent_at` is as it was written.
    `dialect` says how the items are worded; `template` is what a classic request says for all its events, as
    JSON text.
    """

    version: int
    received_ms: int
    kind: KeyKind
    path_type: str | None
    ip: str | None
    user_agent: str | None
    locale: str | None
    context: bytes | None = None
    integrations: bytes | None = None
    sent_at: str | float | None = None
    dialect: Dialect = "segment"
    template: bytes | None = None


class UnknownHeadError(ValueError):
    """The head was written by another version of the server, or is no head at all."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head).decode


def encode_head(
    facts: RequestFacts,
    context: bytes | None = None,
    integrations: bytes | None = None,
    sent_at: str | float | None = None,
) -> bytes:
    """The bytes that `decode_head` reads."""
    return _encode(
        Head(
            VERSION,
            facts.received_ms,
            facts.kind,
            facts.path_type,
            facts.ip,
            facts.user_agent,
            facts.locale,
            context,
            integrations,
            sent_at,
        )
    )


def encode_classic_head(facts: RequestFacts, template: bytes | None = None) -> bytes:
    """`encode_head` of a request in the classic dialect. No path names a type there."""
    return _encode(
        Head(
            VERSION,
            facts.received_ms,
            facts.kind,
            None,
            facts.ip,
            facts.user_agent,
            facts.locale,
            None,
            None,
            None,
            "classic",
            template,
        )
    )


def decode_head(data: bytes) -> Head:
    """The head in `data`; raises `UnknownHeadError`."""
    try:
        head = _decode(data)
    except msgspec.MsgspecError as error:
        raise UnknownHeadError(f"not an event head: {error}") from error
    if head.version != VERSION:
        raise UnknownHeadError(f"event head of version {head.version}, this server reads version {VERSION}")
    return head
