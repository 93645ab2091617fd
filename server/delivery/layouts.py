"""Layouts: an event → rows of tables, by the rules of Jitsu's `segment-single-table`. Pure and hot.

Invariants: an event is never changed; what a key of the event itself says wins over a property of the same
name, and the event's context wins over both; every column of a row is a legal Postgres name
(`server.warehouse` names). `JITSU_TABLE_NAME` is honoured as found: `server.ingest.restore` removes it from
events of browser keys. Thread: an instance keeps a cache of names and belongs to one thread.
"""

from typing import Any, Final

from server.warehouse import AnyRow, Row, ShapedRow, Value, table_name

from .columns import Columns, Names, flatten, flatten_below, put
from .shapes import ShortCuts

COLUMNS_MAX: Final = 20_000
"""Names remembered per layout (about 4 MB); keys that change with every event must not grow the process."""

_EMPTY: Final[dict[str, Any]] = {}
_TABLE_KEY: Final = "JITSU_TABLE_NAME"


class _Plan:
    """The name trees of one event type: which keys of each part are columns, and which the layout places
    itself.
    """

    __slots__ = ("context", "properties", "root", "traits")

    def __init__(
        self, names: Names, root: tuple[str, ...], properties: tuple[str, ...], context: tuple[str, ...]
    ) -> None:
        self.root = Columns(names, omit=(_TABLE_KEY, "context", "properties", *root))
        self.properties = Columns(names, omit=properties)
        self.context = Columns(names, "context_", context)
        self.traits = Columns(names, "context_traits_", ("groupId",))
        self.context.children["headers"] = None
        client_ids = self.context.child("clientIds")
        ga4 = client_ids.child("ga4") if client_ids is not None else None
        if ga4 is not None:
            ga4.children["sessionIds"] = None


class SegmentSingleTable:
    """Every event is one row of one table (default `events`), traits and group under `context_`."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._short_cuts = ShortCuts(self._values)
        self._reset()

    def _reset(self) -> None:
        names = Names(COLUMNS_MAX)
        inner = ("groupId", "traits")
        self._names = names
        self._identify = _Plan(names, ("traits",), (), inner)
        self._group = _Plan(names, ("traits", "groupId"), (), ("groupId", "group"))
        self._track = _Plan(names, (), ("traits",), inner)
        self._other = _Plan(names, (), (), inner)
        self._group_traits = Columns(names, "context_group_")

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
        if self._names.full:
            self._reset()
        row: dict[str, Value] = {}
        if kind == "track":
            self._lay_out_track(event, row)
        elif kind == "identify":
            self._lay_out_identify(event, row)
        elif kind == "group":
            self._lay_out_group(event, row)
        else:
            self._lay_out_other(event, row)
        return row

    def _lay_out_track(self, event: dict[str, Any], row: dict[str, Value]) -> None:
        plan = self._track
        properties = _object(event, "properties", "properties", row)
        traits = _object(properties, "traits", "traits", row) if "traits" in properties else _EMPTY
        _lay_out_root(event, properties, plan, row)
        _lay_out_context(event, traits, plan, row)

    def _lay_out_identify(self, event: dict[str, Any], row: dict[str, Value]) -> None:
        plan = self._identify
        _lay_out_root(event, _object(event, "properties", "properties", row), plan, row)
        _lay_out_context(event, _object(event, "traits", "traits", row), plan, row)

    def _lay_out_group(self, event: dict[str, Any], row: dict[str, Value]) -> None:
        plan = self._group
        _lay_out_root(event, _object(event, "properties", "properties", row), plan, row)
        context = _object(event, "context", "context", row)
        flatten(context, plan.context, row)
        traits = event.get("traits") or context.get("group")
        if type(traits) is dict:
            flatten(traits, self._group_traits, row)
        else:
            put(traits, "context_group", row)
        put(event.get("groupId") or context.get("groupId"), "context_group_id", row)

    def _lay_out_other(self, event: dict[str, Any], row: dict[str, Value]) -> None:
        plan = self._other
        _lay_out_root(event, _object(event, "properties", "properties", row), plan, row)
        _lay_out_context(event, _EMPTY, plan, row)


def _lay_out_root(
    event: dict[str, Any], properties: dict[str, Any], plan: _Plan, row: dict[str, Value]
) -> None:
    flatten_below(properties, event, plan.properties, row, plan.root)
    flatten(event, plan.root, row)


def _lay_out_context(
    event: dict[str, Any], traits: dict[str, Any], plan: _Plan, row: dict[str, Value]
) -> None:
    """`context` with its traits overlaid by `traits`, and the group it names: its own, else that of the
    traits.
    """
    context = event.get("context")
    if type(context) is not dict:
        put(context, "context", row)
        context = _EMPTY
    flatten(context, plan.context, row)
    own = context.get("traits")
    if type(own) is not dict:
        put(own, "context_traits", row)
        own = None
    if own:
        flatten_below(own, traits, plan.traits, row, plan.traits)
    if traits:
        flatten(traits, plan.traits, row)
    group = context.get("groupId") or (traits and traits.get("groupId")) or (own and own.get("groupId"))
    if group:
        put(group, "context_group_id", row)


def _object(source: dict[str, Any], key: str, column: str, row: dict[str, Value]) -> dict[str, Any]:
    """The object under `key`; another value there is not lost but becomes the column `column`."""
    value = source.get(key)
    if type(value) is dict:
        return value
    put(value, column, row)
    return _EMPTY
