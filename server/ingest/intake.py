"""Collects the good events of one request, and the errors of the bad ones."""

from typing import Any

from msgspec import UNSET, Raw

from server.ingest.envelope import IRREGULAR, Envelope, Fault, decode_envelope, fault_of, normalise
from server.ingest.lenient import Repairs, UnreadableError, encode, parse
from server.ingest.message_id import message_hash, new_message_id
from server.ingest.values import Decoded, Item, ItemError, RequestFacts


class Intake:
    """One request's events on their way to `Decoded`; `event_bytes_max` bounds each of them."""

    __slots__ = ("_bytes_max", "_errors", "_facts", "_ids", "_items", "_mismatches", "_repairs")

    def __init__(self, facts: RequestFacts, event_bytes_max: int, repairs: Repairs | None = None) -> None:
        self._facts = facts
        self._bytes_max = event_bytes_max
        self._items: list[Item] = []
        self._ids: list[int] = []
        self._errors: list[ItemError] = []
        self._mismatches = 0
        self._repairs = repairs or Repairs()

    def take_batch(self, raws: list[Raw]) -> None:
        """Takes the items of a batch, or notes why they are refused."""
        facts = self._facts
        path_type, needs_identity, seed = facts.path_type, facts.needs_identity, facts.id_seed
        # Where the path names the type, every event has to be compared with it: that is for `take`.
        bytes_max = self._bytes_max if path_type is None else 0
        add_item, add_id = self._items.append, self._ids.append
        for index, raw in enumerate(raws):
            fault: Fault | None
            try:
                envelope = decode_envelope(raw)
            except IRREGULAR:
                fault = self.take_irregular(bytes(raw))
            else:
                message_id = envelope.messageId
                fault = fault_of(envelope, path_type, needs_identity)
                if fault is None and message_id and "\0" not in message_id and len(raw) <= bytes_max:
                    add_item(raw)  # nearly every event: nothing of `take` is needed
                    add_id(message_hash(seed, message_id))
                    continue
                fault = self.take(raw, envelope)
            if fault is not None:
                self.refuse(index, raw, fault)

    def take(self, item: bytes | Raw, envelope: Envelope) -> Fault | None:
        """Adds a strict event, or says which rule it breaks."""
        facts = self._facts
        path_type = facts.path_type
        fault = fault_of(envelope, path_type, facts.needs_identity)
        if fault is not None:
            return fault
        if len(item) > self._bytes_max:
            return Fault("too_large", f"the event has more than {self._bytes_max} bytes")
        if path_type is not None and envelope.type and envelope.type != path_type:
            self._mismatches += 1
        message_id = envelope.messageId
        if not message_id or "\0" in message_id:
            if message_id is not UNSET:
                # An empty one has to go, or it would win; Postgres has no NUL, so two ids must not differ by
                # one.
                return self.take_irregular(bytes(item))
            message_id = new_message_id(facts.received_ms)
            item = _with_message_id(bytes(item), message_id)
        self._items.append(item)
        self._ids.append(message_hash(facts.id_seed, message_id))
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

    def refuse(self, index: int, item: object, fault: Fault) -> None:
        """Notes that item `index` of the batch is refused."""
        message_id = _message_id(item)
        self._errors.append(ItemError(index, message_id, fault.slug, fault.message))

    def decoded(self, head: bytes, received: int) -> Decoded:
        """What was collected."""
        return Decoded(
            head, self._items, self._ids, self._errors, received, self._repairs.count, self._mismatches
        )


def _with_message_id(item: bytes, message_id: str) -> bytes:
    """A JSON object with a messageId in front of its other members."""
    rest = item[item.index(b"{") + 1 :].lstrip(b" \t\r\n")
    comma = b"" if rest.startswith(b"}") else b","
    return b'{"messageId":"%b"%b%b' % (message_id.encode(), comma, rest)


def _message_id(item: object) -> str | None:
    """The messageId of a refused item, raw or parsed, if it has one that can be read."""
    if isinstance(item, Raw):
        try:
            item = parse(bytes(item), Repairs())
        except UnreadableError:
            return None
    message_id = item.get("messageId") if isinstance(item, dict) else None
    return message_id if isinstance(message_id, str) and message_id else None
