"""`segment-single-table`: every event is one row of one table, traits and group below `context_`.

Rules of Jitsu. What comes later is stronger: a property gives way to a key of the event itself, and both to
its context. Pure; an instance belongs to one thread (layouts.py).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from server.warehouse import Value

from .columns import Columns, Names, Place, flatten, put
from .parts import EMPTY, ROOT_FIELDS, TABLE_KEY, OneTable, context_of, object_in
from .shapes import Event

# The parts of an event, the later the stronger.
_PROPERTIES, _ROOT, _CONTEXT, _OWN_TRAITS, _TRAITS = range(5)


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
            names, _ROOT, "", omit=(TABLE_KEY, "context", "properties", *root), own=ROOT_FIELDS
        )
        self.properties = Columns(names, _PROPERTIES, "/properties", omit=properties)
        self.context = context_of(names, _CONTEXT, context)
        self.own_traits = Columns(names, _OWN_TRAITS, "/context/traits", "context_traits_", ("groupId",))
        self.traits = Columns(names, _TRAITS, traits, "context_traits_", ("groupId",))
        self.no_properties = names.name(Place("/properties", "properties", _ROOT, own=True))
        self.no_context = names.name(Place("/context", "context", _ROOT, own=True))
        self.no_traits = names.name(
            Place(traits, "traits", _ROOT if traits == "/traits" else _PROPERTIES, own=traits == "/traits")
        )
        self.no_own_traits = names.name(Place("/context/traits", "context_traits", _CONTEXT, own=True))
        self.group_id = names.name(Place("/context/groupId", "context_group_id", _CONTEXT, own=True))


class _Plans:
    def __init__(self, names: Names) -> None:
        inner = ("groupId", "traits")
        self.identify = _Plan(names, ("traits",), (), inner)
        self.group = _Plan(names, ("traits", "groupId"), (), ("groupId", "group"))
        self.track = _Plan(names, (), ("traits",), inner, "/properties/traits")
        self.other = _Plan(names, (), (), inner)
        self.group_traits = Columns(names, _TRAITS, "/traits", "context_group_")
        self.group_of_context = Columns(names, _TRAITS, "/context/group", "context_group_")
        self.no_group = names.name(Place("/traits", "context_group", _CONTEXT, own=True))


class SingleTable(OneTable):
    """The rules."""

    deciding = frozenset({TABLE_KEY, "groupId"})
    undecided = frozenset({"group"})
    """The group of a group event depends on values, not only on keys."""

    def plans(self, names: Names) -> _Plans:
        """The name trees of every type."""
        return _Plans(names)

    def rows(self, form: Any, event: Event, plans: _Plans, _made: Sequence[Any]) -> list[dict[str, Value]]:
        """The one row of an event of that type."""
        row: dict[str, Value] = {}
        lay: _Lay = _lay_out_other
        if type(form) is str:
            lay = _BY_TYPE.get(form, lay)
        lay(event, plans, row)
        return [row]


def _lay_out_track(event: Event, plans: _Plans, row: dict[str, Value]) -> None:
    plan = plans.track
    properties = object_in(event, "properties", plan.no_properties, plan.root, row)
    traits = object_in(properties, "traits", plan.no_traits, plan.root, row)
    flatten(properties, plan.properties, row)
    flatten(event, plan.root, row)
    _lay_out_context(event, traits, plan, row)


def _lay_out_identify(event: Event, plans: _Plans, row: dict[str, Value]) -> None:
    plan = plans.identify
    _lay_out_root(event, plan, row)
    _lay_out_context(event, object_in(event, "traits", plan.no_traits, plan.root, row), plan, row)


def _lay_out_group(event: Event, plans: _Plans, row: dict[str, Value]) -> None:
    plan = plans.group
    _lay_out_root(event, plan, row)
    context = object_in(event, "context", plan.no_context, plan.root, row)
    flatten(context, plan.context, row)
    own = event.get("traits")
    traits = own or context.get("group")
    if type(traits) is dict:
        flatten(traits, plans.group_traits if own else plans.group_of_context, row)
    elif traits is not None:
        put(traits, plans.no_group, row, plan.root.names.case)
    group = event.get("groupId") or context.get("groupId")
    if group is not None:
        put(group, plan.group_id, row, plan.root.names.case)


def _lay_out_other(event: Event, plans: _Plans, row: dict[str, Value]) -> None:
    plan = plans.other
    _lay_out_root(event, plan, row)
    _lay_out_context(event, EMPTY, plan, row)


_Lay = Callable[[Event, _Plans, dict[str, Value]], None]
_BY_TYPE: Final[dict[str, _Lay]] = {
    "group": _lay_out_group,
    "identify": _lay_out_identify,
    "track": _lay_out_track,
}


def _lay_out_root(event: Event, plan: _Plan, row: dict[str, Value]) -> None:
    properties = object_in(event, "properties", plan.no_properties, plan.root, row)
    flatten(properties, plan.properties, row)
    flatten(event, plan.root, row)


def _lay_out_context(event: Event, traits: dict[str, Any], plan: _Plan, row: dict[str, Value]) -> None:
    """`context` with its traits overlaid by `traits`, and the group it names: its own, else that of the
    traits.
    """
    context = object_in(event, "context", plan.no_context, plan.root, row)
    flatten(context, plan.context, row)
    own = object_in(context, "traits", plan.no_own_traits, plan.root, row)
    flatten(own, plan.own_traits, row)
    flatten(traits, plan.traits, row)
    group = context.get("groupId") or traits.get("groupId") or own.get("groupId")
    if group:
        put(group, plan.group_id, row, plan.root.names.case)
