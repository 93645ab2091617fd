"""Layouts: an event → rows of tables, by the rules of Jitsu's `segment-single-table`. Pure and hot.

Invariants: an event is never changed; what a key of the event itself says wins over a property of the same
name, the event's context wins over both, and what loses is kept aside (collisions.py); every column of a row
is a legal Postgres name (`server.warehouse` names). `JITSU_TABLE_NAME` is honoured as found:
`server.ingest.restore` removes it from events of browser keys. Thread: an instance keeps a cache of names
and belongs to one thread.
"""

from collections.abc import Callable
from typing import Any, Final

from server.warehouse import AnyRow, Row, ShapedRow, Value, table_name

from .collisions import Rivals, claim_of, column_of, is_repeated, settle
from .columns import OBJECT, Collision, Columns, Names, Naming, Place, flatten, put
from .shapes import ShortCuts

COLUMNS_MAX: Final = 20_000
"""Names remembered per layout (about 4 MB); keys that change with every event must not grow the process."""

KEY_CHARS_TOTAL_MAX: Final = 1_000_000
"""Characters of the keys remembered with them."""

_EMPTY: Final[dict[str, Any]] = {}
_TABLE_KEY: Final = "JITSU_TABLE_NAME"

# The parts of an event, the later the stronger.
_PROPERTIES, _ROOT, _CONTEXT, _OWN_TRAITS, _TRAITS = range(5)

_ROOT_FIELDS: Final = frozenset(
    {
        *("anonymousId", "channel", "event", "groupId", "integrations", "messageId", "name", "previousId"),
        *("originalTimestamp", "receivedAt", "requestIp", "sentAt", "timestamp", "traits", "type", "userId"),
        "version",
    }
)
_CONTEXT_FIELDS: Final = frozenset(
    {
        *(
            "app",
            "campaign",
            "clientIds",
            "device",
            "group",
            "headers",
            "ip",
            "library",
            "locale",
            "location",
        ),
        *("network", "os", "page", "referrer", "screen", "timezone", "traits", "userAgent"),
    }
)


class _Plan:
    """The name trees of one event type: which keys of each part are columns, and which the layout places
    itself, with the names it has for them.
    """

    def __init__(
        self,
        names: Names,
        root: tuple[str, ...],
        properties: tuple[str, ...],
        context: tuple[str, ...],
        traits: str = "/traits",
    ) -> None:
        self.root = Columns(
            names, _ROOT, "", omit=(_TABLE_KEY, "context", "properties", *root), own=_ROOT_FIELDS
        )
        self.properties = Columns(names, _PROPERTIES, "/properties", omit=properties)
        self.context = Columns(names, _CONTEXT, "/context", "context_", context, _CONTEXT_FIELDS)
        self.own_traits = Columns(names, _OWN_TRAITS, "/context/traits", "context_traits_", ("groupId",))
        self.traits = Columns(names, _TRAITS, traits, "context_traits_", ("groupId",))
        self.context.children["headers"] = None
        client_ids = self.context.child("clientIds")
        ga4 = client_ids.child("ga4") if client_ids is not None else None
        if ga4 is not None:
            ga4.children["sessionIds"] = None
        self.no_properties = names.name(Place("/properties", "properties", _ROOT, own=True))
        self.no_context = names.name(Place("/context", "context", _ROOT, own=True))
        self.no_traits = names.name(
            Place(traits, "traits", _ROOT if traits == "/traits" else _PROPERTIES, own=traits == "/traits")
        )
        self.no_own_traits = names.name(Place("/context/traits", "context_traits", _CONTEXT, own=True))
        self.group_id = names.name(Place("/context/groupId", "context_group_id", _CONTEXT, own=True))


class _Way:
    """One set of plans, whose trees name what they meet by `name`."""

    def __init__(self, name: Naming) -> None:
        names = Names(COLUMNS_MAX, KEY_CHARS_TOTAL_MAX, name)
        inner = ("groupId", "traits")
        self.names = names
        self.identify = _Plan(names, ("traits",), (), inner)
        self.group = _Plan(names, ("traits", "groupId"), (), ("groupId", "group"))
        self.track = _Plan(names, (), ("traits",), inner, "/properties/traits")
        self.other = _Plan(names, (), (), inner)
        self.group_traits = Columns(names, _TRAITS, "/traits", "context_group_")
        self.group_of_context = Columns(names, _TRAITS, "/context/group", "context_group_")
        self.no_group = names.name(Place("/traits", "context_group", _CONTEXT, own=True))


class SegmentSingleTable:
    """Every event is one row of one table (default `events`), traits and group under `context_`."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._short_cuts = ShortCuts(self._told)
        self._short = _Way(column_of)
        self._long = _Way(claim_of)

    def lay_out(self, offset: int, event: dict[str, Any], rows: list[AnyRow]) -> None:
        """Appends the row of `event` to `rows`. Raises RecursionError for arrays nested beyond what JSON
        text can be made of.
        """
        kind = event.get("type")
        # The group of a group event depends on values, not only on keys.
        found = None if kind == "group" else self._short_cuts.find(kind, event)
        if found is not None:
            rows.append(ShapedRow(offset, self._table, *found))
            return
        named = event.get(_TABLE_KEY)
        table = table_name(named) if named and type(named) is str else self._table
        rows.append(Row(offset, table, self._values(kind, event)))

    def _values(self, kind: Any, event: dict[str, Any]) -> dict[str, Value]:
        """The columns of an event of that type."""
        row, rivals = self._told(kind, event)
        for aside, column in rivals.items():
            if aside in row and is_repeated(row[aside], row.get(column)):
                del row[aside]
        return row

    def _told(self, kind: Any, event: dict[str, Any]) -> tuple[dict[str, Value], Rivals]:
        """All that it says. Only where names collide is it asked which value gets a column."""
        rivals: Rivals = _EMPTY
        if self._short.names.full:
            self._short = _Way(column_of)
        try:
            row = _laid_out(self._short, kind, event)
        except Collision:
            if self._long.names.full:
                self._long = _Way(claim_of)
            row, rivals = settle(_laid_out(self._long, kind, event))
        told: dict[str, Value] = {
            name: value for name, value in row.items() if value is not None and value is not OBJECT
        }
        return told, rivals


def _laid_out(way: _Way, kind: Any, event: dict[str, Any]) -> dict[str, Value]:
    row: dict[str, Value] = {}
    lay: _Lay = _lay_out_other
    if type(kind) is str:
        lay = _BY_TYPE.get(kind, lay)
    lay(event, way, row)
    return row


def _lay_out_track(event: dict[str, Any], way: _Way, row: dict[str, Value]) -> None:
    plan = way.track
    properties = _object(event, "properties", plan.no_properties, row)
    traits = _object(properties, "traits", plan.no_traits, row)
    flatten(properties, plan.properties, row)
    flatten(event, plan.root, row)
    _lay_out_context(event, traits, plan, row)


def _lay_out_identify(event: dict[str, Any], way: _Way, row: dict[str, Value]) -> None:
    plan = way.identify
    _lay_out_root(event, plan, row)
    _lay_out_context(event, _object(event, "traits", plan.no_traits, row), plan, row)


def _lay_out_group(event: dict[str, Any], way: _Way, row: dict[str, Value]) -> None:
    plan = way.group
    _lay_out_root(event, plan, row)
    context = _object(event, "context", plan.no_context, row)
    flatten(context, plan.context, row)
    own = event.get("traits")
    traits = own or context.get("group")
    if type(traits) is dict:
        flatten(traits, way.group_traits if own else way.group_of_context, row)
    elif traits is not None:
        put(traits, way.no_group, row)
    group = event.get("groupId") or context.get("groupId")
    if group is not None:
        put(group, plan.group_id, row)


def _lay_out_other(event: dict[str, Any], way: _Way, row: dict[str, Value]) -> None:
    plan = way.other
    _lay_out_root(event, plan, row)
    _lay_out_context(event, _EMPTY, plan, row)


_Lay = Callable[[dict[str, Any], _Way, dict[str, Value]], None]
_BY_TYPE: Final[dict[str, _Lay]] = {
    "group": _lay_out_group,
    "identify": _lay_out_identify,
    "track": _lay_out_track,
}


def _lay_out_root(event: dict[str, Any], plan: _Plan, row: dict[str, Value]) -> None:
    flatten(_object(event, "properties", plan.no_properties, row), plan.properties, row)
    flatten(event, plan.root, row)


def _lay_out_context(
    event: dict[str, Any], traits: dict[str, Any], plan: _Plan, row: dict[str, Value]
) -> None:
    """`context` with its traits overlaid by `traits`, and the group it names: its own, else that of the
    traits.
    """
    context = _object(event, "context", plan.no_context, row)
    flatten(context, plan.context, row)
    own = _object(context, "traits", plan.no_own_traits, row)
    flatten(own, plan.own_traits, row)
    flatten(traits, plan.traits, row)
    group = context.get("groupId") or traits.get("groupId") or own.get("groupId")
    if group:
        put(group, plan.group_id, row)


def _object(source: dict[str, Any], key: str, column: str, row: dict[str, Value]) -> dict[str, Any]:
    """The object under `key`; another value there is not lost but becomes the column `column`."""
    value = source.get(key, _EMPTY)
    if type(value) is dict:
        return value
    put(value, column, row)
    return _EMPTY
