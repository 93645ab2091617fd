"""The classic dialect (Jitsu Classic, EventNative): which id an event has, and how it reads as ours.

Classic events are flat, in snake case, and bound by no rules: any JSON object is one. The WAL keeps them as
they came; `to_event` maps them at delivery. What both sides of the WAL must agree on is the id, so both use
`CLASSIC_IDS` in one order. Pure, any thread.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import asdict

from server.ingest.envelope import MESSAGE_ID_LENGTH_MAX, Fault, mend_ids, text_of, without_nul
from server.ingest.lenient import Repairs
from server.ingest.values import TABLE_KEY, Event

# Where an event's id is looked for within it, after `eventn_ctx.event_id`; the first that is a text and not
# empty counts. An id of ours is written as `messageId`.
CLASSIC_IDS: Final = ("eventn_ctx_event_id", "event_id", "messageId")

# event_type → type, in our words and in those of the SDKs; any other is a track call of that name.
_TYPES: Final = {
    **{name: name for name in ("page", "identify", "group", "alias", "screen")},
    "pageview": "page",
    "page_view": "page",
    "user_identify": "identify",
}
_UNNAMED: Final = "event"
_CREDENTIALS: Final = ("api_key", "writeKey")
_USER_IDS: Final = (("id", "userId"), ("anonymous_id", "anonymousId"))


class _Context(msgspec.Struct, gc=False):
    event_id: str | UnsetType = UNSET


class ClassicEnvelope(msgspec.Struct, gc=False):
    """What ingest needs to know of a classic body that is an object: its id, and whether it is an event at
    all or `{"template": {…}, "events": […]}`.
    """

    eventn_ctx: _Context | UnsetType = UNSET
    eventn_ctx_event_id: str | UnsetType = UNSET
    event_id: str | UnsetType = UNSET
    messageId: str | UnsetType = UNSET  # noqa: N815
    template: Raw | UnsetType = UNSET
    events: list[Raw] | dict[str, Raw] | str | float | bool | None = None


class _Batch(msgspec.Struct, gc=False):
    """What tells whether an object with a `batch` holds several events: all that an event is known by. (A
    `template` that says something belongs to another shape; dropping it would lose data.)
    """

    batch: list[Raw] | dict[str, Raw] | str | float | bool | None = None
    event_type: Any = None
    type: Any = None
    event: Any = None
    eventn_ctx: Any = None
    eventn_ctx_event_id: Any = None
    event_id: Any = None
    messageId: Any = None  # noqa: N815
    template: Any = None


_KNOWN_BY: Final = _Batch.__struct_fields__[1:]

decode_classic_envelope = msgspec.json.Decoder(ClassicEnvelope).decode
_decode_batch = msgspec.json.Decoder(_Batch).decode


def strict_batch(body: bytes) -> list[Raw] | None:
    """`parsed_batch` of a strict object; raises what the decoder raises."""
    return parsed_batch(asdict(_decode_batch(body)))


def parsed_batch(value: dict[str, Any]) -> list[Any] | None:
    """The events of `{"batch": […]}`; None if it is an event itself."""
    batch = value.get("batch")
    return batch if type(batch) is list and not any(map(value.get, _KNOWN_BY)) else None


def envelope_id(envelope: ClassicEnvelope) -> str:
    """The id of an event, "" if it has none."""
    if envelope.eventn_ctx is not UNSET and envelope.eventn_ctx.event_id:
        return envelope.eventn_ctx.event_id
    return envelope.eventn_ctx_event_id or envelope.event_id or envelope.messageId or ""


def classic_id(original: dict[str, Any]) -> str:
    """`envelope_id` of a parsed event."""
    holder, key = _id_place(original)
    return holder[key] if holder is not None else ""


def _id_place(original: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    context = original.get("eventn_ctx")
    if type(context) is dict:
        value = context.get("event_id")
        if value and type(value) is str:
            return context, "event_id"
    for key in CLASSIC_IDS:
        value = original.get(key)
        if value and type(value) is str:
            return original, key
    return None, ""


def normalise_classic(original: Any, repairs: Repairs) -> Fault | None:
    """Puts the ids of a parsed event in order, in place, or says why it is none: numeric ones become text,
    the one that counts loses its NULs, a messageId that says nothing goes.
    """
    if type(original) is not dict:
        return Fault("invalid_event", "an event must be a JSON object")
    mend_ids(original, CLASSIC_IDS, repairs)
    context = original.get("eventn_ctx")
    if type(context) is dict:
        mend_ids(context, ("event_id",), repairs)
    holder, key = _id_place(original)
    while holder is not None and "\0" in holder[key]:  # of only NULs, it is none, and the next one counts
        holder[key] = without_nul(holder[key], repairs)
        holder, key = _id_place(original)
    if original.get("messageId", UNSET) in ("", None):
        del original["messageId"]
        repairs.count += 1
    if type(original.get("messageId", "")) is not str:
        return Fault("invalid_event", "messageId must be a string")
    return None


def id_fault(message_id: str) -> Fault | None:
    """The rule that an id breaks."""
    if len(message_id) > MESSAGE_ID_LENGTH_MAX:
        return Fault("invalid_event", f"the event's id is longer than {MESSAGE_ID_LENGTH_MAX} characters")
    return None


def shared_part(template: dict[str, Any]) -> dict[str, Any]:
    """What of a template can hold for all events: no credential, and no id (they would be repeats of one
    event). `template` is not changed.
    """
    shared = {key: value for key, value in template.items() if key not in (*CLASSIC_IDS, *_CREDENTIALS)}
    context = shared.get("eventn_ctx")
    if type(context) is dict and "event_id" in context:
        shared["eventn_ctx"] = {key: value for key, value in context.items() if key != "event_id"}
    return shared


def to_event(original: Event) -> Event:
    """A classic event as an event of ours; `original` is used up. Takes whatever `normalise_classic` takes.

    The ids move to where ours are. All else becomes `properties`, whole but for the credentials: so also
    event_type and the time, from which `type`, `event` and `timestamp` are taken.
    """
    for name in _CREDENTIALS:
        original.pop(name, None)
    event: Event = {"messageId": _move_id(original)}
    _move_user(original, event)
    context = original.get("eventn_ctx")
    if type(context) is dict:
        _move_user(context, event)
    moment = original.get("utc_time") or (type(context) is dict and context.get("utc_time"))
    event["timestamp"] = moment or original.get("_timestamp")
    if TABLE_KEY in original:
        event[TABLE_KEY] = original.pop(TABLE_KEY)
    _name(original, event)
    event["properties"] = original
    return event


def _move_id(original: dict[str, Any]) -> str:
    """The id, which leaves its place; an empty one besides it is none and leaves too."""
    holder, key = _id_place(original)
    message_id: str = holder.pop(key) if holder is not None else ""
    for name in CLASSIC_IDS:
        if original.get(name) == "":
            del original[name]
    context = original.get("eventn_ctx")
    if type(context) is dict and context.get("event_id") == "":
        del context["event_id"]
    return message_id


def _move_user(holder: dict[str, Any], event: dict[str, Any]) -> None:
    """The ids of `holder.user` that the event has not got yet. Empty ones are none."""
    user = holder.get("user")
    if type(user) is not dict:
        return
    for key, name in _USER_IDS:
        text = text_of(user.get(key))
        if text == "":
            del user[key]
        elif text is not None and name not in event:
            event[name] = text
            del user[key]


def _name(original: dict[str, Any], event: dict[str, Any]) -> None:
    """Sets `type`, and `event` for track calls: also where a known type lacks what it needs."""
    name = text_of(original.get("event_type"))
    kind = _TYPES.get(name) if name else None
    if kind == "group":
        group = text_of(original.get("group_id"))
        if group:
            event["groupId"] = group
            del original["group_id"]
        else:
            kind = None
    elif kind == "identify" and "userId" not in event and "anonymousId" not in event:
        kind = None
    if kind is None:
        event["type"], event["event"] = "track", name or _UNNAMED
    else:
        event["type"] = kind
