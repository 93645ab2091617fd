"""From the bytes of a request to events that can be appended, or to the reason why not: the hot path.

A regular event is never parsed into Python objects and never written again: the decoder checks it while
skipping over it, and the slice of the body goes to the WAL as it came. Only what is irregular takes the
slow path, where it is put right and written again. Invariants: these functions raise nothing, whatever the
bytes; every item they return is strict JSON that `restore` takes. Pure, any thread.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from server.ingest.envelope import IRREGULAR, Envelope, decode_envelope, fault_of
from server.ingest.head import encode_head
from server.ingest.intake import Intake
from server.ingest.lenient import Repairs, UnreadableError, encode, parse
from server.ingest.message_id import message_hash
from server.ingest.values import Decoded, Limits, Refusal, RequestFacts

# Larger bodies that need repair are not parsed for their write key: nobody has vouched for them yet, and the
# slow path can take 70 ms a megabyte.
_STRANGER_BYTES_MAX = 1_000_000


class _BatchBody(msgspec.Struct, gc=False):
    batch: list[Raw]
    context: Raw | UnsetType = UNSET
    integrations: Raw | UnsetType = UNSET
    sentAt: str | float | None = None  # noqa: N815


class _KeyedBody(msgspec.Struct, gc=False):
    writeKey: str | None = None  # noqa: N815


_decode_batch_body = msgspec.json.Decoder(_BatchBody).decode
_decode_keyed_body = msgspec.json.Decoder(_KeyedBody).decode
_decode_object = msgspec.json.Decoder(dict[str, Any] | None).decode


def body_write_key(body: bytes) -> str | None:
    """The `writeKey` at the top of a body, single or batch; None if there is none that can be read."""
    try:
        return _decode_keyed_body(body).writeKey or None
    except IRREGULAR:
        if len(body) > _STRANGER_BYTES_MAX:
            return None
    try:
        value = parse(body, Repairs())
    except UnreadableError:
        return None
    key = value.get("writeKey") if type(value) is dict else None
    return key if type(key) is str and key else None


def decode_event(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """The one event of `body`."""
    if len(body) > limits.event_bytes_max:
        return Refusal("too_large", f"the event has more than {limits.event_bytes_max} bytes")
    envelope: Envelope | None = None
    try:
        _require_utf8(body)
        envelope = decode_envelope(body)
    except IRREGULAR:
        pass
    else:
        message_id, path_type = envelope.messageId, facts.path_type
        same_type = path_type is None or not envelope.type or envelope.type == path_type
        if (
            message_id
            and "\0" not in message_id
            and same_type
            and fault_of(envelope, path_type, facts.needs_identity) is None
        ):
            ids = [message_hash(facts.id_seed, message_id)]  # nearly every event: no need of `Intake`
            return Decoded(encode_head(facts), [body], ids, [], 1, 0, 0)
    intake = Intake(facts, limits.event_bytes_max)
    fault = intake.take_irregular(body) if envelope is None else intake.take(body, envelope)
    if fault is not None:
        return Refusal(fault.slug, fault.message)
    return intake.decoded(encode_head(facts), 1)


def decode_batch(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """The events of a `{"batch": […]}` body. Refused items are in `errors`, which may be all of them."""
    try:
        _require_utf8(body)
        batch = _decode_batch_body(body)
        context, integrations = _object_bytes(batch.context), _object_bytes(batch.integrations)
    except IRREGULAR:
        return _decode_irregular_batch(body, facts, limits)
    raws = batch.batch
    refusal = _refuse_batch(len(raws), context, integrations, limits)
    if refusal is not None:
        return refusal
    intake = Intake(facts, limits.event_bytes_max - len(context or b"") - len(integrations or b""))
    intake.take_batch(raws)
    return intake.decoded(encode_head(facts, context, integrations, batch.sentAt), len(raws))


def _decode_irregular_batch(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """`decode_batch` for a body that is not strict JSON, or whose shape is odd."""
    repairs = Repairs()
    try:
        value = parse(body, repairs)
    except UnreadableError as error:
        return Refusal("bad_json", f"the body is not JSON: {error}")
    events = value.get("batch") if type(value) is dict else value
    if type(value) is not dict or type(events) not in (list, type(None)):
        return Refusal("bad_request", 'the body must be {"batch": [events]}')
    if type(value.get("context")) not in (dict, type(None)):
        return Refusal("invalid_event", "context must be an object")
    context, integrations = _encoded_object(value.get("context")), _encoded_object(value.get("integrations"))
    events = events or []
    refusal = _refuse_batch(len(events), context, integrations, limits)
    if refusal is not None:
        return refusal
    intake = Intake(facts, limits.event_bytes_max - len(context or b"") - len(integrations or b""), repairs)
    for index, event in enumerate(events):
        fault = intake.take_value(event)
        if fault is not None:
            intake.refuse(index, event, fault)
    sent_at = value.get("sentAt")
    if type(sent_at) is not str:
        sent_at = float(sent_at) if type(sent_at) is float else None
    return intake.decoded(encode_head(facts, context, integrations, sent_at), len(events))


def _refuse_batch(
    events: int, context: bytes | None, integrations: bytes | None, limits: Limits
) -> Refusal | None:
    if events == 0:
        return Refusal("empty_batch", "the batch has no events")
    if events > limits.batch_events_max:
        return Refusal(
            "too_many_events", f"the batch has {events} events, more than {limits.batch_events_max}"
        )
    if len(context or b"") + len(integrations or b"") > limits.shared_bytes_max:
        return Refusal("too_large", f"the batch's own context has more than {limits.shared_bytes_max} bytes")
    return None


def _require_utf8(body: bytes) -> None:
    """The decoder does not look into the strings that it skips, so this does; raises UnicodeDecodeError."""
    if not body.isascii():
        str(body, "utf-8")


def _object_bytes(raw: Raw | UnsetType) -> bytes | None:
    """A batch's own object, None if it says nothing; raises what the decoder raises for anything else."""
    if raw is UNSET:
        return None
    return bytes(raw) if _decode_object(raw) else None


def _encoded_object(value: Any) -> bytes | None:
    return encode(value) if type(value) is dict and value else None
