"""`passthrough`: the event as it is, flattened under its own names, one row of one table.

`properties`, `traits` and `context` are prefixes as every other object is: `properties_orderId`. Pure; an
instance belongs to one thread (layouts.py).
"""

from collections.abc import Sequence
from typing import Any

from server.warehouse import Value

from .columns import Columns, Names, flatten
from .parts import ROOT_FIELDS, TABLE_KEY, OneTable, context_of
from .shapes import Event

_ROOT, _CONTEXT = range(2)


class Passthrough(OneTable):
    """The rules."""

    def plans(self, names: Names) -> Columns:
        """The name tree."""
        own = ROOT_FIELDS | {"context", "properties"}
        root = Columns(names, _ROOT, "", omit=(TABLE_KEY,), own=own)
        root.children["context"] = context_of(names, _CONTEXT)
        return root

    def rows(self, _form: Any, event: Event, plans: Columns, _made: Sequence[Any]) -> list[dict[str, Value]]:
        """The one row."""
        row: dict[str, Value] = {}
        flatten(event, plans, row)
        return [row]
