"""Layouts: an event → rows of tables. Pure and hot. Which rules a link has is chosen here, and only here.

The rules of each layout are a module of their own (single_table, segment, legacy, passthrough); what all have
in common is here: the table that an event names, short cuts (shapes.py) where only keys decide, and what
happens where names collide (collisions.py).

Invariants: an event is never changed; it becomes all of its rows or raises, never some of them; no two of its
rows are of one table; every column of a row is a legal Postgres name (`server.warehouse` names). Thread: an
instance keeps a cache of names and belongs to one thread.
"""

from collections.abc import Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from server.warehouse import AnyRow, Row, Value

from .collisions import Rivals, claim_of, column_of, is_repeated, settle
from .columns import OBJECT, ORIGINAL, SNAKE, Case, Collision, Names, Naming
from .legacy import CLASSIC, Legacy
from .links import LinkConfig
from .passthrough import Passthrough
from .segment import Segment
from .shapes import Event, Made, ShortCuts, Told
from .single_table import SingleTable
from .stamps import stamps_of
from .table_names import TableNames

COLUMNS_MAX: Final = 20_000
"""Names remembered per layout (about 4 MB); keys that change with every event must not grow the process."""

KEY_CHARS_TOTAL_MAX: Final = 1_000_000
"""Characters of the keys remembered with them."""

_NO_RIVALS: Final[Rivals] = {}
_Plans = TypeVar("_Plans")


class Rules(Protocol[_Plans]):
    """What a layout says. Its facts for short cuts, and `form`: as `Teacher` has them (shapes.py)."""

    deciding: frozenset[str]
    undecided: frozenset[str]
    made: Made | None

    def form(self, event: Event, named: str | None) -> tuple[Any, tuple[str, ...]]:
        """What decides about the rows beside the keys of the event, and the table of each row."""
        ...

    def plans(self, names: Names) -> _Plans:
        """Its trees of names."""
        ...

    def rows(self, form: Any, event: Event, plans: _Plans, made: Sequence[Any]) -> list[dict[str, Value]]:
        """The values of each row, by the names that the trees give. `made` is what `made` said of the event.
        Raises Collision.
        """
        ...


class _Way(Generic[_Plans]):
    """One set of plans, whose trees name what they meet by `name`."""

    def __init__(self, rules: Rules[_Plans], case: Case, guarded: frozenset[str], name: Naming) -> None:
        self.names = Names(case, guarded, name, COLUMNS_MAX, KEY_CHARS_TOTAL_MAX)
        self.plans = rules.plans(self.names)


class Layout(Generic[_Plans]):
    """One link's way from events to rows; what short cuts are learned from."""

    def __init__(
        self, rules: Rules[_Plans], case: Case, guarded: frozenset[str], table_names: TableNames
    ) -> None:
        self.deciding, self.undecided = rules.deciding, rules.undecided
        self.made, self.form = rules.made, rules.form
        self._rules = rules
        self._case = case
        self._guarded = guarded
        self._table_names = table_names
        self._short_cuts = ShortCuts(self, case)
        self._short = self._way(column_of)
        self._long = self._way(claim_of)

    def _way(self, name: Naming) -> _Way[_Plans]:
        return _Way(self._rules, self._case, self._guarded, name)

    def lay_out(self, offset: int, event: Event, rows: list[AnyRow]) -> None:
        """Appends the rows of `event` to `rows`. Raises RecursionError for arrays nested beyond what JSON
        text can be made of.
        """
        named = self._table_names.of(event)
        if not self._short_cuts.take(offset, event, named, rows):
            form, tables = self.form(event, named)
            values = self._values(form, event)
            rows += [Row(offset, table, row) for table, row in zip(tables, values, strict=True)]

    def _values(self, form: Any, event: Event) -> list[dict[str, Value]]:
        """The columns of each row."""
        told = self.told(form, event, self.made(event) if self.made is not None else ())
        for row, rivals in told:
            for aside, column in rivals.items():
                if aside in row and is_repeated(row[aside], row.get(column)):
                    del row[aside]
        return [row for row, _ in told]

    def told(self, form: Any, event: Event, made: Sequence[Any]) -> Sequence[Told]:
        """All that the rows say. Only where names collide is it asked which value gets a column."""
        if self._short.names.full:
            self._short = self._way(column_of)
        try:
            rows = self._rules.rows(form, event, self._short.plans, made)
        except Collision:
            if self._long.names.full:
                self._long = self._way(claim_of)
            claims = self._rules.rows(form, event, self._long.plans, made)
            return [(_said(row), rivals) for row, rivals in map(settle, claims)]
        return [(_said(row), _NO_RIVALS) for row in rows]


def _said(row: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in row.items() if value is not None and value is not OBJECT}


AnyLayout = Layout[Any]


def layout_of(link: LinkConfig) -> AnyLayout:
    """The layout of a link."""
    names = TableNames(link.table_name_template)
    guarded = stamps_of(link.layout, link.keep_original_names).guarded
    table, case = link.table_name, ORIGINAL if link.keep_original_names else SNAKE
    if link.layout == "segment":
        return Layout(Segment(table), case, guarded, names)
    if link.layout == "jitsu-legacy":
        return Layout(Legacy(table), CLASSIC if link.keep_original_names else SNAKE, guarded, names)
    if link.layout == "passthrough":
        return Layout(Passthrough(table), ORIGINAL, guarded, names)
    return Layout(SingleTable(table), case, guarded, names)
