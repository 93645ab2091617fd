"""From what the WAL holds to the event as it is delivered: stamping (contract.md, Stamped).

A pure function of (head, raw item): a flusher, a look-up and a replay see the same event, whenever they
ask. It stands on the hot path of delivery. Any thread.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from server.ingest.classic import to_event
from server.ingest.head import Head, decode_head
from server.ingest.lenient import load
from server.ingest.moments import format_moment, format_ms, is_canonical, moment_of_ms, parse_moment
from server.ingest.values import TABLE_KEY, Event

# A smaller difference between the clocks is network and queueing, not skew.
_SKEW_MIN: Final = timedelta(minutes=5)
# Only a server key may choose column types.
_SQL_TYPE_PREFIX: Final = "__sql_type"
_IDS: Final = ("userId", "anonymousId", "groupId", "previousId")


def restore(head: bytes, item: bytes) -> Event:
    """The stamped event of `item`, a raw event that a decoder of this package accepted with `head`.

    Raises `UnknownHeadError` for a head of another version, nothing else.
    """
    return restorer(head)(item)


def restorer(head: bytes) -> Callable[[bytes], Event]:
    """`restore` for many items of one head. Events share no mutable value."""
    decoded = decode_head(head)
    kind = _ClassicRestorer if decoded.dialect == "classic" else _Restorer
    return kind(decoded).restore


class _Restorer:
    __slots__ = ("_browser", "_head", "_overlay", "_path_type", "_received_text", "_shared_hints", "_shares")

    def __init__(self, head: Head) -> None:
        self._head = head
        self._path_type = head.path_type
        self._received_text = format_ms(head.received_ms)
        self._shares = head.context is not None or head.integrations is not None or head.sent_at is not None
        self._browser = head.kind == "browser"
        self._overlay: Event = {}
        self._shared_hints = False
        if self._browser:
            self._look_at_browser(head)

    def _look_at_browser(self, head: Head) -> None:
        if head.user_agent is not None:
            self._overlay["userAgent"] = head.user_agent
        if head.locale is not None:
            self._overlay["locale"] = head.locale
        if head.ip is not None:
            self._overlay["ip"] = head.ip
        shared = (head.context or b"") + (head.integrations or b"") + (head.template or b"")
        self._shared_hints = _may_hint_types(shared)

    def restore(self, item: bytes) -> Event:
        event: Event = load(item)
        if self._shares:
            self._merge_shared(event)
        if self._path_type is not None:
            event["type"] = self._path_type
        event.pop("writeKey", None)  # a credential, not data
        if b'""' in item or (ord("\\") in item and b'"\\u0000' in item):
            _remove_empty_ids(event)
        self._stamp(event, item)
        return event

    def _stamp(self, event: Event, item: bytes) -> None:
        """What only the server knows."""
        head = self._head
        event["receivedAt"] = self._received_text
        if head.ip is not None:
            event["requestIp"] = head.ip
        else:
            event.pop("requestIp", None)  # only the server says it, and it must not
        if self._browser:
            self._restrict_browser(event, item)
        self._stamp_time(event)

    def _merge_shared(self, event: Event) -> None:
        """What the batch says for all its events, decoded afresh for each; the event's own keys win."""
        head = self._head
        if head.context is not None:
            event["context"] = load(head.context) | (event.get("context") or {})
        if head.integrations is not None:
            own = event.get("integrations")
            if own is None or type(own) is dict:
                event["integrations"] = load(head.integrations) | (own or {})
        if head.sent_at is not None and not event.get("sentAt"):
            event["sentAt"] = head.sent_at

    def _restrict_browser(self, event: Event, item: bytes) -> None:
        """A browser says nothing about its address that the server knows better, and nothing about tables."""
        context = event.get("context")
        if context:
            context.update(self._overlay)
        elif self._overlay:
            context = event["context"] = self._overlay.copy()
        if context and self._head.ip is None:
            context.pop("ip", None)
        event.pop(TABLE_KEY, None)
        if self._shared_hints or _may_hint_types(item):
            _remove_type_hints(event)

    def _stamp_time(self, event: Event) -> None:
        raw = event.get("timestamp")
        if raw is None or raw == "":
            raw = event.get("originalTimestamp")
            if raw is None or raw == "":
                event["timestamp"] = self._received_text
                return
        moment = parse_moment(raw)
        if moment is None:
            event["originalTimestamp"] = raw
            event["timestamp"] = self._received_text
            return
        skew = self._skew(event) if self._browser else None
        if skew is not None:
            event.setdefault("originalTimestamp", raw)
            event["timestamp"] = format_moment(_shifted(moment, skew, moment_of_ms(self._head.received_ms)))
        elif type(raw) is str and is_canonical(raw):
            event["timestamp"] = raw
        else:
            event["timestamp"] = format_moment(moment)

    def _skew(self, event: Event) -> timedelta | None:
        """How far the client's clock is behind ours, None if it agrees or said nothing."""
        sent_at = event.get("sentAt")
        if type(sent_at) is str and sent_at[:17] == self._received_text[:17] and sent_at[-1] == "Z":
            return None  # the same minute: the usual case, without the arithmetic
        sent = parse_moment(sent_at)
        if sent is None:
            return None
        skew = moment_of_ms(self._head.received_ms) - sent
        return skew if abs(skew) >= _SKEW_MIN else None


class _ClassicRestorer(_Restorer):
    """For heads of the classic dialect."""

    __slots__ = ()

    def restore(self, item: bytes) -> Event:
        original: Event = load(item)
        template = self._head.template
        if template is not None:
            original = load(template) | original
        event = to_event(original)
        self._stamp(event, item)
        return event


def _shifted(moment: datetime, skew: timedelta, received: datetime) -> datetime:
    """`moment` on our clock, never later than `received`."""
    try:
        return min(moment + skew, received)
    except OverflowError:
        return received if skew > timedelta(0) else datetime.min.replace(tzinfo=UTC)


def _remove_empty_ids(event: Event) -> None:
    """RudderStack's browser SDKs say `userId: ""` of a visitor they do not know: an empty id is none. One of
    only NULs would be empty in Postgres.
    """
    for name in _IDS:
        value = event.get(name)
        if type(value) is str and not value.strip("\0"):
            del event[name]


def _may_hint_types(text: bytes) -> bool:
    """Whether a JSON text may hold a key that begins with `__sql_type`, perhaps in escapes. Cheap."""
    if ord("\\") in text and b"\\u00" in text:
        return True
    return ord("q") in text and b"__sql_type" in text


def _remove_type_hints(value: Any) -> None:
    """Removes the column type hints at any depth, in place (the depth is bounded by `load`)."""
    if type(value) is dict:
        for key in [key for key in value if key.startswith(_SQL_TYPE_PREFIX)]:
            del value[key]
        value = value.values()
    for child in value:
        if type(child) is dict or type(child) is list:
            _remove_type_hints(child)
