"""From the bodies of classic routes to events: an event, an array, a template with events, an uploaded file.

As in decode.py, a regular event keeps its bytes and is mapped when it is restored (classic.py). Invariants:
nothing here raises, whatever the bytes; every item is strict JSON that `restore` takes; time and memory are
bounded by the body and by `Limits`. Pure, any thread.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import UNSET, Raw

from server.ingest.bodies import (
    decode_array,
    decode_object,
    encoded_object,
    is_array,
    refuse_count,
    refuse_shared,
    require_utf8,
)
from server.ingest.classic import (
    decode_classic_envelope,
    envelope_id,
    parsed_batch,
    shared_part,
    strict_batch,
)
from server.ingest.envelope import IRREGULAR, Fault
from server.ingest.head import encode_classic_head
from server.ingest.intake import ClassicIntake
from server.ingest.lenient import BYTE_ORDER_MARK, Repairs, UnreadableError, parse
from server.ingest.values import Decoded, Limits, Refusal, RequestFacts

_NOT_BLANK: Final = re.compile(rb"\S")  # as `bytes.isspace` sees it


def decode_classic(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """The events of a classic body: an event, an array of events, `{"batch": […]}` with nothing that an event
    is known by, or `{"template": {…}, "events": […]}`: the template holds for all events, and an event's own
    keys win. Refused events are in `errors`; of a single event, the fault is the refusal.

    The type is the events' own: `facts.path_type` and `facts.needs_identity` mean nothing here.
    """
    large = len(body) > limits.event_bytes_max
    if large and b'"events"' not in body and b'"batch"' not in body and not is_array(body):
        return Refusal("too_large", f"the event has more than {limits.event_bytes_max} bytes")
    try:
        require_utf8(body)
        if is_array(body):
            return _gathered(decode_array(body), None, facts, limits, Repairs())
        envelope = decode_classic_envelope(body)
        template, events = envelope.template, envelope.events
        if template is not UNSET and type(events) is list:
            if len(template) > limits.shared_bytes_max:  # refused, most likely; long integers cost less there
                return _decode_irregular(body, facts, limits)
            return _gathered(events, decode_object(template), facts, limits, Repairs())
        batch = None if envelope_id(envelope) or b'"batch"' not in body else strict_batch(body)
    except IRREGULAR:
        return _decode_irregular(body, facts, limits)
    if batch is not None:
        return _gathered(batch, None, facts, limits, Repairs())
    intake = ClassicIntake(facts, limits.event_bytes_max)
    return _single(intake, intake.take_classic(body, envelope), facts)


def decode_lines(content: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """The events of an uploaded file: one classic event a line (LF or CRLF, blank lines are skipped, the last
    needs no end), or one JSON array of classic events.

    `errors` has what is wrong with single lines; their `index` is the number of the line in the file, counted
    from 1 (in an array: of the event). Lines count towards `limits.batch_events_max`.
    """
    repairs = Repairs()
    if content.startswith(BYTE_ORDER_MARK):
        content = content[len(BYTE_ORDER_MARK) :]
        repairs.count += 1
    if is_array(content):
        events = _decode_whole_array(content, facts, limits, repairs)
        if events is not None:
            return events
    intake = ClassicIntake(facts, limits.event_bytes_max, repairs)
    clean = _is_utf8(content)
    received = 0
    for number, line in _lines(content):
        received += 1
        if received > limits.batch_events_max:
            return Refusal("too_many_events", f"the file has more than {limits.batch_events_max} events")
        fault = intake.take_strict(line) if clean or _is_utf8(line) else intake.take_irregular(line)
        if fault is not None:
            intake.refuse(number, line, fault)
    return refuse_count(received, limits) or intake.decoded(encode_classic_head(facts), received)


def _is_utf8(content: bytes) -> bool:
    try:
        require_utf8(content)
    except UnicodeDecodeError:
        return False
    return True


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    number, at, end = 1, 0, len(content)
    while at < end:
        stop = content.find(b"\n", at)
        stop = end if stop < 0 else stop
        line = content[at:stop]
        if line and not line.isspace():
            yield number, line
            number, at = number + 1, stop + 1
            continue
        found = _NOT_BLANK.search(content, stop)  # many blank lines cost one step
        if found is None:
            return
        number += content.count(b"\n", at, found.start())
        at = found.start()


def _decode_whole_array(
    content: bytes, facts: RequestFacts, limits: Limits, repairs: Repairs
) -> Decoded | Refusal | None:
    """The events of a file that is one array; None if it is not."""
    try:
        require_utf8(content)
        raws = decode_array(content)
    except IRREGULAR:
        pass
    else:
        return _gathered(raws, None, facts, limits, repairs, 1)
    try:
        events = parse(content, repairs)
    except UnreadableError:
        return None
    return _gathered(events, None, facts, limits, repairs, 1)


def _decode_irregular(body: bytes, facts: RequestFacts, limits: Limits) -> Decoded | Refusal:
    """`decode_classic` for a body that is not strict JSON, or whose ids are no texts."""
    repairs = Repairs()
    try:
        value = parse(body, repairs)
    except UnreadableError as error:
        return Refusal("bad_json", f"the body is not JSON: {error}")
    if type(value) is list:
        return _gathered(value, None, facts, limits, repairs)
    if type(value) is dict and "template" in value and type(value.get("events")) is list:
        return _gathered(value["events"], value["template"], facts, limits, repairs)
    batch = parsed_batch(value) if type(value) is dict else None
    if batch is not None:
        return _gathered(batch, None, facts, limits, repairs)
    intake = ClassicIntake(facts, limits.event_bytes_max, repairs)
    return _single(intake, intake.take_value(value), facts)


def _gathered(
    events: Sequence[Any],
    template: object,
    facts: RequestFacts,
    limits: Limits,
    repairs: Repairs,
    first: int = 0,
) -> Decoded | Refusal:
    """Events that are parsed, or raw and probably strict JSON; the first one's index is `first`."""
    if type(template) not in (dict, type(None)):
        return Refusal("invalid_event", "template must be an object")
    shared = encoded_object(shared_part(template)) if type(template) is dict else None
    shared_bytes = len(shared or b"")
    refusal = refuse_count(len(events), limits) or refuse_shared(shared_bytes, limits)
    if refusal is not None:
        return refusal
    intake = ClassicIntake(facts, limits.event_bytes_max - shared_bytes, repairs)
    take = intake.take_batch if type(events[0]) is Raw else intake.take_values
    take(events, first)
    return intake.decoded(encode_classic_head(facts, shared), len(events))


def _single(intake: ClassicIntake, fault: Fault | None, facts: RequestFacts) -> Decoded | Refusal:
    if fault is not None:
        return Refusal(fault.slug, fault.message)
    return intake.decoded(encode_classic_head(facts), 1)
