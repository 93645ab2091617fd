"""The values that go into ingest and come out of it. No behaviour.

`RequestFacts` and `Decoded` are made once a request on the hot path, so they are msgspec structs (a frozen
dataclass costs 0.5 µs more to build); `gc=False` because they cannot be part of a cycle.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

# A slice of the request body (msgspec.Raw: buffer protocol and len()), or bytes where something was repaired.
Item = bytes | msgspec.Raw
# A stamped event, or one on its way there.
Event = dict[str, Any]
KeyKind = Literal["browser", "server"]
# How events are worded: as the Segment, RudderStack and Jitsu SDKs do, or as Jitsu Classic does.
Dialect = Literal["segment", "classic"]

# Only a server key may choose tables.
TABLE_KEY: Final = "JITSU_TABLE_NAME"
EVENT_TYPES: Final = frozenset({"track", "page", "identify", "group", "alias", "screen"})

# Path segment → event type; None: the type is in the payload.
PATH_TYPES: Final[dict[str, str | None]] = {
    **{name: name for name in sorted(EVENT_TYPES)},
    **{name[0]: name for name in sorted(EVENT_TYPES)},
    "event": None,
    "e": None,
}


class RequestFacts(msgspec.Struct, frozen=True, gc=False):
    """What the route knows about a request.

    `path_type` is the event type that the path names, None where the payload's own type counts. `ip`,
    `user_agent` and `locale` have the stream's policies applied already (None: unknown or not to be kept).
    `id_seed` is `stream_seed` of the stream. `needs_identity`: an event without userId and anonymousId is
    refused.
    """

    received_ms: int
    kind: KeyKind
    path_type: str | None
    ip: str | None
    user_agent: str | None
    locale: str | None
    id_seed: int
    needs_identity: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a body. `shared_bytes_max` is for a batch's own context and integrations, which all events
    repeat.
    """

    event_bytes_max: int = 1_000_000
    batch_events_max: int = 2_500
    shared_bytes_max: int = 65_536


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a whole request is refused; `slug` is a key of `problems.PROBLEMS`."""

    slug: str
    detail: str


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why one item of a batch is refused. `message_id` is None where the item has none that can be read."""

    index: int
    message_id: str | None
    slug: str
    message: str


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """The events of a request, ready to be appended.

    `items` and `ids` (seeded message-id hashes) run in parallel; `errors` names the refused ones of
    `received`. `repairs` counts what was put right (a NaN, a numeric id …), `type_mismatches` the events
    whose own type lost against the path's.
    """

    head: bytes
    items: list[Item]
    ids: list[int]
    errors: list[ItemError]
    received: int
    repairs: int
    type_mismatches: int
