"""Collects the good events of one request, and the errors of the bad ones."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, Raw

from server.ingest.classic import (
    ClassicEnvelope,
    classic_id,
    decode_classic_envelope,
    envelope_id,
    id_fault,
    normalise_classic,
)
from server.ingest.envelope import IRREGULAR, Envelope, Fault, decode_envelope, fault_of, normalise
from server.ingest.lenient import Repairs, UnreadableError, encode, parse
from server.ingest.message_id import MessageIds, message_hash
from server.ingest.values import Decoded, Item, ItemError, RequestFacts


class Intake:
    """One request's events on their way to `Decoded`; `event_bytes_max` bounds each of them."""

    __slots__ = ("_bytes_max", "_errors", "_facts", "_ids", "_items", "_made", "_mismatches", "_repairs")

    def __init__(self, facts: RequestFacts, event_bytes_max: int, repairs: Repairs | None = None) -> None:
        self._facts = facts
        self._bytes_max = event_bytes_max
        self._items: list[Item] = []
        self._ids: list[int] = []
        self._errors: list[ItemError] = []
        self._made: MessageIds | None = None
        self._mismatches = 0
        self._repairs = repairs or Repairs()

    def take_batch(self, raws: Sequence[Raw], first: int = 0) -> None:
        """Takes the items of a batch, or notes why they are refused; `first` is the index of the first."""
        facts = self._facts
        path_type, needs_identity, seed = facts.path_type, facts.needs_identity, facts.id_seed
        bytes_max = self._bytes_max
        add_item, add_id = self._items.append, self._ids.append
        for index, raw in enumerate(raws, first):
            fault: Fault | None
            try:
                envelope = decode_envelope(raw)
            except IRREGULAR:
                fault = self.take_irregular(bytes(raw))
            else:
                message_id, kind = envelope.messageId, envelope.type
                fault = fault_of(envelope, path_type, needs_identity)
                same_type = path_type is None or not kind or kind == path_type
                if (
                    fault is None
                    and message_id
                    and "\0" not in message_id
                    and same_type
                    and len(raw) <= bytes_max
                ):
                    add_item(raw)  # nearly every event: nothing of `take` is needed
                    add_id(message_hash(seed, message_id))
                    continue
                fault = self.take(raw, envelope)
            if fault is not None:
                self.refuse(index, raw, fault)

    def take(self, item: Item, envelope: Envelope) -> Fault | None:
        """Adds a strict event, or says which rule it breaks."""
        facts = self._facts
        path_type = facts.path_type
        fault = fault_of(envelope, path_type, facts.needs_identity)
        if fault is not None:
            return fault
        if len(item) > self._bytes_max:
            return self._too_large()
        if path_type is not None and envelope.type and envelope.type != path_type:
            self._mismatches += 1
        message_id = envelope.messageId
        if message_id is UNSET:
            self._add_nameless(item)
        elif not message_id or "\0" in message_id:
            # An empty one has to go, or it would win; Postgres has no NUL, so two ids must not differ by one.
            return self.take_irregular(bytes(item))
        else:
            self._add(item, message_id)
        return None

    def take_irregular(self, item: bytes) -> Fault | None:
        """Adds an event that is not strict JSON or not the shape of an envelope, or says why not."""
        try:
            event = parse(item, self._repairs)
        except UnreadableError as error:
            return Fault("bad_json", f"not JSON: {error}")
        return self.take_value(event)

    def take_value(self, event: Any) -> Fault | None:
        """Adds a parsed event, or says why it cannot be put into shape or which rule it breaks."""
        fault = normalise(event, self._repairs)
        if fault is not None:
            return fault
        item = encode(event)
        return self.take(item, decode_envelope(item))

    def take_values(self, events: Sequence[Any], first: int = 0) -> None:
        """`take_batch` for parsed events."""
        for index, event in enumerate(events, first):
            fault = self.take_value(event)
            if fault is not None:
                self.refuse(index, event, fault)

    def refuse(self, index: int, item: object, fault: Fault) -> None:
        """Notes that item `index` of the batch is refused."""
        event = None if fault.slug == "bad_json" else _parsed(item)
        message_id = self._id_of(event) if isinstance(event, dict) else None
        self._errors.append(ItemError(index, message_id or None, fault.slug, fault.message))

    def decoded(self, head: bytes, received: int) -> Decoded:
        """What was collected."""
        return Decoded(
            head, self._items, self._ids, self._errors, received, self._repairs.count, self._mismatches
        )

    def _id_of(self, event: dict[str, Any]) -> str | None:
        message_id = event.get("messageId")
        return message_id if isinstance(message_id, str) else None

    def _add(self, item: Item, message_id: str) -> None:
        self._items.append(item)
        self._ids.append(message_hash(self._facts.id_seed, message_id))

    def _add_nameless(self, item: Item) -> None:
        """Adds an event without an id, with one of ours in front of its other members."""
        if self._made is None:
            self._made = MessageIds(self._facts.received_ms)
        message_id = self._made.make()
        self._add(_with_message_id(bytes(item), message_id), message_id)

    def _too_large(self) -> Fault:
        return Fault("too_large", f"the event has more than {self._bytes_max} bytes")


class ClassicIntake(Intake):
    """An intake for events of the classic dialect."""

    __slots__ = ()

    def take_batch(self, raws: Sequence[Item], first: int = 0) -> None:
        for index, raw in enumerate(raws, first):
            fault = self.take_strict(raw)
            if fault is not None:
                self.refuse(index, raw, fault)

    def take_strict(self, item: Item) -> Fault | None:
        """Adds an event that is probably strict JSON, and surely UTF-8."""
        if len(item) > self._bytes_max:
            return self._too_large()
        try:
            envelope = decode_classic_envelope(item)
        except IRREGULAR:
            return self.take_irregular(bytes(item))
        return self.take_classic(item, envelope)

    def take_classic(self, item: Item, envelope: ClassicEnvelope) -> Fault | None:
        """Adds a strict event."""
        message_id = envelope_id(envelope)
        if "\0" in message_id or (not message_id and envelope.messageId is not UNSET):
            return self.take_irregular(bytes(item))
        return self._take_named(item, message_id)

    def take_value(self, event: Any) -> Fault | None:
        fault = normalise_classic(event, self._repairs)
        return fault if fault is not None else self._take_named(encode(event), classic_id(event))

    def _id_of(self, event: dict[str, Any]) -> str | None:
        return classic_id(event)

    def _take_named(self, item: Item, message_id: str) -> Fault | None:
        if len(item) > self._bytes_max:
            return self._too_large()
        if not message_id:
            self._add_nameless(item)
            return None
        fault = id_fault(message_id)
        if fault is None:
            self._add(item, message_id)
        return fault


def _with_message_id(item: bytes, message_id: str) -> bytes:
    """A JSON object with a messageId in front of its other members."""
    if item.startswith(b'{"'):
        return b"".join((b'{"messageId":"', message_id.encode(), b'",', item[1:]))
    rest = item[item.index(b"{") + 1 :].lstrip(b" \t\r\n")
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"messageId":"%b"%b%b' % (message_id.encode(), comma, rest)


def _parsed(item: object) -> object:
    """The value of a refused item, raw or parsed; None if it cannot be read."""
    if not isinstance(item, Item):
        return item
    try:
        return parse(bytes(item), Repairs())
    except UnreadableError:
        return None
