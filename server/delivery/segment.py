"""`segment`: a table per type of event, and one more per name of a track event. Rules of Jitsu.

identify → `identifies`, group → `groups`, page → `pages`, screen → `screen`, alias → `alias`; a track event
is a row of `tracks` without its properties, and a row with them of the table called as the event is. One that
is called as the table `tracks` itself is its full row there: two rows of one message id would be one anyway.
Only page, screen and alias have a column `type`, and whatever goes to a table named for it (JITSU_TABLE_NAME,
tableNameTemplate), which is one row. What comes later is stronger: properties, traits of the context, traits,
keys of the event itself, context. Pure; an instance belongs to one thread (layouts.py).
"""

from collections.abc import Sequence
from typing import Any, Final

from server.warehouse import Value, table_name

from .columns import Columns, Names, Place, flatten
from .parts import EMPTY, ROOT_FIELDS, TABLE_KEY, context_of, object_in
from .shapes import Event, Made

_PROPERTIES, _OWN_TRAITS, _TRAITS, _ROOT, _CONTEXT = range(5)
_TRACKS: Final = "tracks"
_TABLES: Final = {
    "identify": ("identifies",),
    "group": ("groups",),
    "page": ("pages",),
    "screen": ("screen",),
    "alias": ("alias",),
    "track": (_TRACKS,),
}
_BASE_AND_NAMED: Final = "track by name"
_TYPED: Final = " typed"


class _Plan:
    """The name trees of one form. `traits`: which traits are at the root, and so not where they stand."""

    def __init__(self, names: Names, typed: bool, traits: tuple[str, ...] = ()) -> None:
        omit = [TABLE_KEY, "context", "properties"]
        omit += [] if typed else ["type"]
        omit += ["traits"] if traits else []
        self.root = Columns(names, _ROOT, "", omit=tuple(omit), own=ROOT_FIELDS)
        self.properties = Columns(names, _PROPERTIES, "/properties")
        self.context = context_of(names, _CONTEXT, ("traits",) if traits else ())
        self.own_traits = Columns(names, _OWN_TRAITS, "/context/traits") if "own" in traits else None
        self.traits = Columns(names, _TRAITS, "/traits") if "traits" in traits else None
        self.no_properties = names.name(Place("/properties", "properties", _ROOT, own=True))
        self.no_context = names.name(Place("/context", "context", _ROOT, own=True))
        self.no_traits = names.name(Place("/traits", "traits", _ROOT, own=True))
        self.no_own_traits = names.name(Place("/context/traits", "context_traits", _CONTEXT, own=True))


class _Plans:
    def __init__(self, names: Names) -> None:
        self.by_form = {
            kind + suffix: _Plan(names, bool(suffix) or kind not in ("identify", "group", "track"), traits)
            for suffix in ("", _TYPED)
            for kind, traits in (
                ("identify", ("own", "traits")),
                ("group", ("traits",)),
                ("track", ()),
                ("page", ()),
            )
        }
        self.by_form[_BASE_AND_NAMED] = self.by_form["track"]
        self.other = self.by_form["page"]


class Segment:
    """The rules; `table` takes what has no type (nothing that ingest accepts)."""

    deciding = frozenset({TABLE_KEY})
    undecided = frozenset[str]()
    made: Made | None = None

    def __init__(self, table: str) -> None:
        self._tables = (table,)

    def form(self, event: Event, named: str | None) -> tuple[Any, tuple[str, ...]]:
        """What kind of rows they are, and the table of each."""
        kind = event.get("type")
        if type(kind) is not str:
            return kind, self._tables if named is None else (named,)
        if named is not None:
            return kind + _TYPED, (named,)
        if kind == "track":
            name = event.get("event")
            if type(name) is str and name:
                table = table_name(name)
                if table != _TRACKS:
                    return _BASE_AND_NAMED, (_TRACKS, table)
        return kind, _TABLES.get(kind) or (table_name(kind),)

    def plans(self, names: Names) -> _Plans:
        """The name trees of every form."""
        return _Plans(names)

    def rows(self, form: Any, event: Event, plans: _Plans, _made: Sequence[Any]) -> list[dict[str, Value]]:
        """The row of each table."""
        plan = plans.by_form.get(form, plans.other) if type(form) is str else plans.other
        full: dict[str, Value] = {}
        flatten(object_in(event, "properties", plan.no_properties, plan.root, full), plan.properties, full)
        _lay_out_traits(event, plan, full)
        _lay_out_rest(event, plan, full)
        if form != _BASE_AND_NAMED:
            return [full]
        base: dict[str, Value] = {}
        _lay_out_rest(event, plan, base)
        return [base, full]


def _lay_out_rest(event: Event, plan: _Plan, row: dict[str, Value]) -> None:
    flatten(event, plan.root, row)
    flatten(object_in(event, "context", plan.no_context, plan.root, row), plan.context, row)


def _lay_out_traits(event: Event, plan: _Plan, row: dict[str, Value]) -> None:
    if plan.own_traits is not None:
        context = event.get("context")
        context = context if type(context) is dict else EMPTY
        own = object_in(context, "traits", plan.no_own_traits, plan.root, row)
        flatten(own, plan.own_traits, row)
    if plan.traits is not None:
        flatten(object_in(event, "traits", plan.no_traits, plan.root, row), plan.traits, row)
