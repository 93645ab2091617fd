"""From the bytes of a request to events that can be appended, or to the reason why not: the hot path.

A regular event is never parsed into Python objects and never written again: the decoder checks it while
skipping over it, and the slice of the body goes to the WAL as it came. Only what is irregular takes the
slow path, where it is put right and written again. Invariants: these functions raise nothing, whatever the
bytes; every item they return is strict JSON that `restore` takes. Pure, any thread.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from server.ingest.bodies import (
    decode_array,
    encoded_object,
    is_array,
    object_bytes,
    refuse_count,
    refuse_shared,
    require_utf8,
)
from server.ingest.envelope import IRREGULAR, Fault, decode_envelope, fault_of
from server.ingest.head import encode_head
from server.ingest.intake import Intake
from server.ingest.lenient import Repairs, UnreadableError, parse
from server.ingest.message_id import message_hash
from server.ingest.values import Decoded, Limits, Refusal, RequestFacts


class _Holder(msgspec.Struct, gc=False):
    batch: list[Raw]


class _BatchBody(_Holder, gc=False):
    context: Raw | UnsetType = UNSET
    integrations: Raw | UnsetType = UNSET
    sentAt: str | float | None = None  # noqa: N815


_decode_holder = msgspec.json.Decoder(_Holder).decode
_decode_batch_body = msgspec.json.Decoder(_BatchBody).decode


def decode_event(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """The one event of `body`. Its events, as `decode_batch` does, if it is an array, or an object with a
    list `batch` and nothing that an event is known by (type, event, messageId).
    """
    large = len(body) > limits.event_bytes_max
    if large and b'"batch"' not in body and not is_array(body):
        return Refusal("too_large", f"the event has more than {limits.event_bytes_max} bytes")
    try:
        require_utf8(body)
        envelope = decode_envelope(body)
    except IRREGULAR:
        several = is_array(body)
        return (decode_batch if several else _decode_irregular_event)(body, facts, limits)
    message_id, path_type = envelope.messageId, facts.path_type
    same_type = path_type is None or not envelope.type or envelope.type == path_type
    if (
        message_id
        and "\0" not in message_id
        and same_type
        and not large
        and fault_of(envelope, path_type, facts.needs_identity) is None
    ):
        ids = [message_hash(facts.id_seed, message_id)]  # nearly every event: no need of `Intake`
        return Decoded(encode_head(facts), [body], ids, [], 1, 0, 0)
    if not message_id and not envelope.type and not envelope.event and _holds_batch(body):
        return decode_batch(body, facts, limits)
    intake = Intake(facts, limits.event_bytes_max)
    return _single(intake, intake.take(body, envelope), facts)


def decode_batch(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """The events of a `{"batch": […]}` body or of an array; an object without `batch` that has a type is one
    event. Refused items are in `errors`, which may be all of them.
    """
    context = integrations = sent_at = None
    try:
        require_utf8(body)
        if is_array(body):
            raws = decode_array(body)
        else:
            batch = _decode_batch_body(body)
            raws, sent_at = batch.batch, batch.sentAt
            context, integrations = object_bytes(batch.context), object_bytes(batch.integrations)
    except IRREGULAR:
        return _decode_irregular_batch(body, facts, limits)
    shared_bytes = len(context or b"") + len(integrations or b"")
    refusal = refuse_count(len(raws), limits) or refuse_shared(shared_bytes, limits)
    if refusal is not None:
        return refusal
    intake = Intake(facts, limits.event_bytes_max - shared_bytes)
    intake.take_batch(raws)
    return intake.decoded(encode_head(facts, context, integrations, sent_at), len(raws))


def _decode_irregular_event(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """`decode_event` for a body that is not strict JSON, or not the shape of an envelope."""
    repairs = Repairs()
    try:
        value = parse(body, repairs)
    except UnreadableError as error:
        return _bad_json(error)
    if type(value) is list:
        return _batch_of({"batch": value}, facts, limits, repairs)
    if type(value) is dict and type(value.get("batch")) is list and not _is_event(value):
        return _batch_of(value, facts, limits, repairs)
    intake = Intake(facts, limits.event_bytes_max, repairs)
    return _single(intake, intake.take_value(value), facts)


def _decode_irregular_batch(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """`decode_batch` for a body that is not strict JSON, or whose shape is odd."""
    repairs = Repairs()
    try:
        value = parse(body, repairs)
    except UnreadableError as error:
        return _bad_json(error)
    if type(value) is list:
        value = {"batch": value}
    if type(value) is not dict or type(value.get("batch")) not in (list, type(None)):
        return Refusal("bad_request", 'the body must be {"batch": [events]}, or an array of events')
    if "batch" not in value and value.get("type"):
        return decode_event(body, facts, limits)
    return _batch_of(value, facts, limits, repairs)


def _batch_of(
    value: dict[str, Any], facts: RequestFacts, limits: Limits, repairs: Repairs
) -> Decoded | Refusal:
    """The events of a parsed `{"batch": […]}`."""
    if type(value.get("context")) not in (dict, type(None)):
        return Refusal("invalid_event", "context must be an object")
    context, integrations = encoded_object(value.get("context")), encoded_object(value.get("integrations"))
    shared_bytes = len(context or b"") + len(integrations or b"")
    events = value.get("batch") or []
    refusal = refuse_count(len(events), limits) or refuse_shared(shared_bytes, limits)
    if refusal is not None:
        return refusal
    intake = Intake(facts, limits.event_bytes_max - shared_bytes, repairs)
    intake.take_values(events)
    return intake.decoded(encode_head(facts, context, integrations, _sent_at(value)), len(events))


def _sent_at(value: dict[str, Any]) -> str | float | None:
    """As `_BatchBody` reads it; None for what is no time."""
    sent_at = value.get("sentAt")
    if type(sent_at) is not int:
        return sent_at if type(sent_at) is str or type(sent_at) is float else None
    try:
        return float(sent_at)
    except OverflowError:
        return None


def _is_event(value: dict[str, Any]) -> bool:
    return bool(value.get("type") or value.get("event") or value.get("messageId"))


def _single(intake: Intake, fault: Fault | None, facts: RequestFacts) -> Decoded | Refusal:
    if fault is not None:
        return Refusal(fault.slug, fault.message)
    return intake.decoded(encode_head(facts), 1)


def _bad_json(error: UnreadableError) -> Refusal:
    return Refusal("bad_json", f"the body is not JSON: {error}")


def _holds_batch(body: bytes) -> bool:
    """Whether an object has a `batch` that is a list."""
    try:
        return b'"batch"' in body and _decode_holder(body) is not None
    except IRREGULAR:
        return False
