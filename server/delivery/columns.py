"""Flattening: nested JSON objects → one dict of column → value, through a tree of cached column names.

Rules (Jitsu's, so that a table made by it can be taken over): every key at every depth becomes snake case;
objects are joined by `_`; an empty key is `_unnamed`; an empty object and a null give no column; an array is
JSON text.

Invariants: nothing here changes an event; a `Columns` tree never holds more than `columns_max` names (beyond
it names are computed anew, the owner drops the tree when `Names.full` says so); objects deeper than
`DEPTH_MAX` are stored as JSON text. Thread: a tree belongs to the thread that uses it (the event loop).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from server.warehouse import Value, column_name, snake_case

DEPTH_MAX: Final = 32
"""Objects nested deeper are not flattened: a name is cut at 63 bytes, so further levels could not be told
apart.
"""

_HINT: Final = "__sql_type"  # a hint about the type of a column is not a column
_RENAME_DEPTH_MAX: Final = 64
_SCALARS: Final = frozenset({str, int, float, bool})
_encode: Final = (
    msgspec.json.Encoder().encode
)  # takes integers beyond 64 bits and ~1,000 levels; orjson takes neither


class Names:
    """The bound shared by the trees of one layout: how many column names they may remember together."""

    __slots__ = ("columns_max", "known")

    def __init__(self, columns_max: int) -> None:
        self.columns_max = columns_max
        self.known = 0

    @property
    def full(self) -> bool:
        """True once nothing more is remembered: whoever owns the trees should drop them."""
        return self.known >= self.columns_max


class Columns(dict[str, str | None]):
    """Key → column name of the keys below one prefix. `None` = not a column: the layout places this key
    itself.

    `children` holds the tree one level down; a key mapped to `None` there is stored as JSON text instead of
    flattened.
    """

    __slots__ = ("children", "depth", "names", "prefix")

    def __init__(self, names: Names, prefix: str = "", omit: tuple[str, ...] = (), depth: int = 0) -> None:
        super().__init__(dict.fromkeys(omit))
        self.names = names
        self.prefix = prefix
        self.depth = depth
        self.children: dict[str, Columns | None] = {}

    def __missing__(self, key: str) -> str | None:
        name = None if key.startswith(_HINT) else column_name(self.prefix + (snake_case(key) or "_unnamed"))
        if not self.names.full:
            self.names.known += 1
            self[key] = name
        return name

    def child(self, key: str) -> "Columns | None":
        """The columns below `key`; `None` beyond `DEPTH_MAX`."""
        try:
            return self.children[key]
        except KeyError:
            pass
        if self.depth >= DEPTH_MAX:
            return None
        below = Columns(self.names, self.prefix + (snake_case(key) or "_unnamed") + "_", (), self.depth + 1)
        if not self.names.full:
            self.names.known += 1
            self.children[key] = below
        return below


def flatten(source: Mapping[str, Any], columns: Columns, row: dict[str, Value]) -> None:
    """Adds the columns of `source` to `row`; a key that is already there is overwritten, by null too."""
    for key, value in source.items():
        column = columns[key]
        if column is None:
            continue
        if type(value) in _SCALARS:
            row[column] = value
        else:
            _place(key, value, column, columns, row)


def flatten_below(
    source: Mapping[str, Any],
    above: Mapping[str, Any],
    columns: Columns,
    row: dict[str, Value],
    above_columns: Columns,
) -> None:
    """As `flatten`, for a source whose keys `above` overwrites as a whole: an object hidden by a scalar
    leaves nothing.

    The caller flattens `above` right after this, so only what that could not overwrite is left out here.
    """
    taken: set[str | None] | None = None
    for key, value in source.items():
        column = columns[key]
        if column is None:
            continue
        kind = type(value)
        if kind in _SCALARS:
            row[column] = value
            continue
        if kind is dict:
            # Its columns have other names than its own, so nothing would overwrite them.
            if taken is None:
                taken = {above_columns[other] for other in above}
            if column in taken:
                continue
        _place(key, value, column, columns, row)


def _place(key: str, value: Any, column: str, columns: Columns, row: dict[str, Value]) -> None:
    """What is not a scalar takes the place of what an earlier source left under its name."""
    row.pop(column, None)
    if type(value) is dict:
        below = columns.child(key)
        if below is not None:
            flatten(value, below, row)
        elif value:
            row[column] = _encode(value).decode()
    else:
        put(value, column, row)


def put(value: Any, column: str, row: dict[str, Value]) -> None:
    """One value into one column: a scalar as it is, an array or object as JSON text, null not at all."""
    if type(value) in _SCALARS:
        row[column] = value
    elif value is not None:
        row[column] = text_of(value)


def text_of(value: Any) -> str:
    """JSON text of an array or object, with the keys in it as columns have them."""
    return _encode(_snake_cased(value, 0)).decode()


def _snake_cased(value: Any, depth: int) -> Any:
    """Array elements with snake-case keys, as columns have. Deep ends keep their keys."""
    if depth > _RENAME_DEPTH_MAX:
        return value
    if type(value) is list:
        return [_snake_cased(item, depth + 1) if type(item) in (dict, list) else item for item in value]
    if type(value) is dict:
        return {snake_case(key) or "_unnamed": _snake_cased(item, depth + 1) for key, item in value.items()}
    return value
