"""From what the WAL holds to the event as it is delivered: stamping (contract.md, Stamped).

A pure function of (head, raw item): a flusher, a look-up and a replay see the same event, whenever they
ask. It stands on the hot path of delivery. Any thread.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from server.ingest.head import Head, decode_head
from server.ingest.lenient import load
from server.ingest.moments import format_moment, is_canonical, moment_of_ms, parse_moment

Event = dict[str, Any]

# A smaller difference between the clocks is network and queueing, not skew.
_SKEW_MIN = timedelta(minutes=5)
# Only a server key may choose tables and column types.
_TABLE_KEY = "JITSU_TABLE_NAME"
_SQL_TYPE_PREFIX = "__sql_type"


def restore(head: bytes, item: bytes) -> Event:
    """The stamped event of `item`, a raw event that `decode_event` or `decode_batch` accepted with `head`.

    Raises `UnknownHeadError` for a head of another version, nothing else.
    """
    return restorer(head)(item)


def restorer(head: bytes) -> Callable[[bytes], Event]:
    """`restore` for many items of one head. Events share no mutable value."""
    return _Restorer(decode_head(head)).restore


class _Restorer:
    __slots__ = (
        "_browser",
        "_context",
        "_head",
        "_integrations",
        "_overlay",
        "_received",
        "_received_text",
        "_sent_at",
    )

    def __init__(self, head: Head) -> None:
        self._head = head
        self._browser = head.kind == "browser"
        self._received = moment_of_ms(head.received_ms)
        self._received_text = format_moment(self._received)
        self._context = head.context
        self._integrations = head.integrations
        self._sent_at = head.sent_at
        known = (("userAgent", head.user_agent), ("locale", head.locale), ("ip", head.ip))
        self._overlay = {name: value for name, value in known if value is not None}

    def restore(self, item: bytes) -> Event:
        event: Event = load(item)
        if self._context is not None or self._integrations is not None:
            self._merge_shared(event)
        if self._sent_at is not None and not event.get("sentAt"):
            event["sentAt"] = self._sent_at
        if self._head.path_type is not None:
            event["type"] = self._head.path_type
        event["receivedAt"] = self._received_text
        ip = self._head.ip
        if ip is not None:
            event["requestIp"] = ip
        if self._browser:
            self._restrict_browser(event, item)
        self._stamp_time(event)
        return event

    def _merge_shared(self, event: Event) -> None:
        """The batch's context and integrations, decoded afresh for each event; the event's own keys win."""
        if self._context is not None:
            event["context"] = load(self._context) | (event.get("context") or {})
        if self._integrations is not None:
            own = event.get("integrations")
            if own is None or type(own) is dict:
                event["integrations"] = load(self._integrations) | (own or {})

    def _restrict_browser(self, event: Event, item: bytes) -> None:
        """A browser says nothing about its address that the server knows better, and nothing about tables."""
        context = event.get("context")
        if context:
            context.update(self._overlay)
        elif self._overlay:
            context = event["context"] = self._overlay.copy()
        if self._head.ip is None:
            event.pop("requestIp", None)
            if context:
                context.pop("ip", None)
        if _may_hint(item) or (self._context is not None and _may_hint(self._context)):
            _remove_hints(event)

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
            event["timestamp"] = format_moment(_shifted(moment, skew, self._received))
        elif type(raw) is str and is_canonical(raw):
            event["timestamp"] = raw
        else:
            event["timestamp"] = format_moment(moment)

    def _skew(self, event: Event) -> timedelta | None:
        """How far the client's clock is behind ours, None if it agrees or said nothing."""
        sent = parse_moment(event.get("sentAt"))
        if sent is None:
            return None
        skew = self._received - sent
        return skew if abs(skew) >= _SKEW_MIN else None


def _shifted(moment: datetime, skew: timedelta, received: datetime) -> datetime:
    """`moment` on our clock, never later than `received`."""
    try:
        return min(moment + skew, received)
    except OverflowError:
        return received if skew > timedelta(0) else datetime.min.replace(tzinfo=UTC)


def _may_hint(text: bytes) -> bool:
    """Whether a JSON text may hold a key that only a server may set, perhaps written with \\u escapes."""
    return b"__sql_type" in text or b"JITSU_TABLE" in text or b"\\u00" in text


def _remove_hints(value: Any) -> None:
    """Removes the reserved keys at any depth, in place (the depth is bounded by `load`)."""
    if type(value) is dict:
        reserved = [key for key in value if key == _TABLE_KEY or key.startswith(_SQL_TYPE_PREFIX)]
        for key in reserved:
            del value[key]
        value = value.values()
    elif type(value) is not list:
        return
    for child in value:
        if type(child) is dict or type(child) is list:
            _remove_hints(child)
