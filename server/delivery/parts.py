"""The parts of an event that every layout places itself: which of its keys are fields of the protocol, its
context, and objects that are not what they should be. Pure; any thread.
"""

from typing import Any, Final

from server.warehouse import Value

from .columns import Columns, Names, put
from .shapes import Event, Made

TABLE_KEY: Final = "JITSU_TABLE_NAME"
"""Names the table of an event; no column. `server.ingest.restore` takes it from events of browser keys."""

EMPTY: Final[dict[str, Any]] = {}

ROOT_FIELDS: Final = frozenset(
    {
        *("anonymousId", "channel", "event", "groupId", "integrations", "messageId", "name", "previousId"),
        *("originalTimestamp", "receivedAt", "requestIp", "sentAt", "timestamp", "traits", "type", "userId"),
        "version",
    }
)
CONTEXT_FIELDS: Final = frozenset(
    {
        *("app", "campaign", "clientIds", "device", "group", "headers", "ip", "library", "locale"),
        *("location", "network", "os", "page", "referrer", "screen", "timezone", "traits", "userAgent"),
    }
)


class OneTable:
    """What layouts have in common whose events are one row each. `table` is where rows go that name no other;
    the attributes are those of `shapes.Teacher`.
    """

    deciding = frozenset({TABLE_KEY})
    undecided = frozenset[str]()
    made: Made | None = None

    def __init__(self, table: str) -> None:
        self._tables = (table,)

    def form(self, event: Event, named: str | None) -> tuple[Any, tuple[str, ...]]:
        """The type of the event, and its table."""
        return event.get("type"), self._tables if named is None else (named,)


def context_of(names: Names, source: int, omit: tuple[str, ...] = ()) -> Columns:
    """The columns of `context`. Headers, and the sessions of Google Analytics, are JSON text: their keys come
    from anywhere.
    """
    context = Columns(names, source, "/context", "context_", omit, CONTEXT_FIELDS)
    context.children["headers"] = None
    client_ids = context.child("clientIds")
    ga4 = client_ids.child("ga4") if client_ids is not None else None
    if ga4 is not None:
        ga4.children["sessionIds"] = None
    return context


def object_in(
    source: dict[str, Any], key: str, column: str, columns: Columns, row: dict[str, Value]
) -> dict[str, Any]:
    """The object under `key`; another value there is not lost but becomes the column `column`."""
    value = source.get(key, EMPTY)
    if type(value) is dict:
        return value
    put(value, column, row, columns.names.case)
    return EMPTY
