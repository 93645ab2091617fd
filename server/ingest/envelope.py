"""The fields of an event that ingest looks at, and the rules they must satisfy (contract.md, Fields).

The types do the checking while the decoder skips over the rest: a regular event costs 0.6 µs. What does not
fit them (a numeric id, a null messageId, properties that are a list) is looked at again in `normalise`,
which puts it right or names the fault.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from server.ingest.lenient import Repairs
from server.ingest.values import EVENT_TYPES

MESSAGE_ID_LENGTH_MAX: Final = 256

_IDS: Final = ("messageId", "userId", "anonymousId", "groupId", "previousId")
_OBJECTS: Final = ("properties", "traits", "context")
_TEXTS: Final = ("type", "event", *_IDS)


class AnyObject(msgspec.Struct, gc=False):
    """A JSON object, whatever is in it: without fields, the decoder only checks that it is one and skips
    over it.
    """


class Envelope(msgspec.Struct, gc=False):
    """What ingest needs to know of an event. Names are the wire's."""

    messageId: str | UnsetType = UNSET  # noqa: N815
    type: str | None = None
    event: str | None = None
    userId: str | None = None  # noqa: N815
    anonymousId: str | None = None  # noqa: N815
    groupId: str | None = None  # noqa: N815
    previousId: str | None = None  # noqa: N815
    properties: AnyObject | None = None
    traits: AnyObject | None = None
    context: AnyObject | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an event is refused: a problem slug, and a text for its sender."""

    slug: str
    message: str


# What the strict decoders raise for bytes that need a second look.
IRREGULAR: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

decode_envelope = msgspec.json.Decoder(Envelope).decode


def fault_of(envelope: Envelope, path_type: str | None, needs_identity: bool) -> Fault | None:
    """The rule that an event of the right shape breaks, None if it breaks none. An empty string counts as
    absent.
    """
    kind = path_type or envelope.type
    if kind == "track":
        if not envelope.event:
            return _invalid("event is required for track")
    elif kind == "identify":
        if not envelope.userId and not envelope.anonymousId:
            return _invalid("userId or anonymousId is required for identify")
    elif kind == "group":
        if not envelope.groupId:
            return _invalid("groupId is required for group")
    elif not kind:
        return _invalid("type is required")
    elif kind not in EVENT_TYPES:
        return Fault("unknown_type", f"unknown event type: {kind[:64]}")
    if needs_identity and not envelope.userId and not envelope.anonymousId:
        return _invalid("userId or anonymousId is required")
    message_id = envelope.messageId
    if message_id is not UNSET and len(message_id) > MESSAGE_ID_LENGTH_MAX:
        return _invalid(f"messageId is longer than {MESSAGE_ID_LENGTH_MAX} characters")
    return None


def _invalid(message: str) -> Fault:
    return Fault("invalid_event", message)


def normalise(event: Any, repairs: Repairs) -> Fault | None:
    """Puts the fields of a parsed event into the shape of `Envelope`, in place, or says why that cannot be
    done.

    Numeric ids become text; a messageId loses its NULs, and goes if it says nothing (null, empty).
    """
    if type(event) is not dict:
        return _invalid("an event must be a JSON object")
    mend_ids(event, _IDS, repairs)
    message_id = event.get("messageId")
    if type(message_id) is str and "\0" in message_id:
        event["messageId"] = without_nul(message_id, repairs)
    if event.get("messageId", UNSET) in ("", None):
        del event["messageId"]
        repairs.count += 1
    for name in _OBJECTS:
        if type(event.get(name, {})) not in (dict, type(None)):
            return _invalid(f"{name} must be an object")
    for name in _TEXTS:
        if type(event.get(name, "")) not in (str, type(None)):
            return _invalid(f"{name} must be a string")
    return None


def mend_ids(holder: dict[str, Any], names: Iterable[str], repairs: Repairs) -> None:
    """Makes text of the numeric ids in `holder`, in place."""
    for name in names:
        value = holder.get(name)
        if type(value) is int or type(value) is float:
            holder[name] = str(value)
            repairs.count += 1


def without_nul(message_id: str, repairs: Repairs) -> str:
    """Postgres has no NUL, so two ids of events must not differ by one. All other texts keep theirs here."""
    repairs.count += 1
    return message_id.replace("\0", "")


def text_of(value: Any) -> str | None:
    """An id as text: a number's digits, a text without NULs. None for anything else."""
    kind = type(value)
    if kind is str:
        return value.replace("\0", "") if "\0" in value else value  # type: ignore[no-any-return]
    return str(value) if kind is int or kind is float else None
