"""Flattening: nested JSON objects → one dict of column → value, through a tree of cached column names.

Rules (Jitsu's, so that a table made by it can be taken over): every key at every depth becomes snake case;
objects are joined by `_`; an empty key is `_unnamed`; an empty object and a null give no column; an array is
JSON text.

Invariants: nothing here changes an event; the `Columns` trees of one `Names` never hold more than it allows
(beyond that names are computed anew, the owner drops the trees when `Names.full` says so); objects deeper
than `DEPTH_MAX` are stored as JSON text; no value takes the place of another: `Collision` is raised, and
collisions.py decides. Thread: a tree belongs to the thread that uses it (the event loop).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from server.warehouse import KEY_CHARS_MAX, Value, column_name, snake_case

DEPTH_MAX: Final = 32
"""Objects nested deeper are not flattened: a name is cut at 63 bytes, so further levels could not be told
apart.
"""

PLACE_CHARS_MAX: Final = 1_024
"""A key is not remembered if it and the keys above it are longer than this together."""

OBJECT: Final[Any] = object()
"""Stands in a row under the name of an object, whose values have names of their own."""

_HINT: Final = "__sql_type"  # a hint about the type of a column is not a column
_RENAME_DEPTH_MAX: Final = 64
_SCALARS: Final = frozenset({str, int, float, bool})
_encode: Final = (
    msgspec.json.Encoder().encode
)  # takes integers beyond 64 bits and ~1,000 levels; orjson takes neither


class Collision(Exception):  # noqa: N818 - no error: it says that the event takes the longer way
    """Two places of one event give the same column."""


class Place(NamedTuple):
    """Where a value stands in an event.

    path    JSON pointer.
    column  the column it would go into.
    source  the place, in the order of the layout, of the part of the event that it belongs to.
    own     whether it is the protocol's field for that column.
    """

    path: str
    column: str
    source: int
    own: bool


Naming = Callable[[Place], str]


class Names:
    """What the trees of one layout share: what a place is called in the row, and the bound of how many
    columns (and characters of keys) they may remember together.
    """

    __slots__ = ("chars", "chars_max", "columns_max", "known", "name")

    def __init__(self, columns_max: int, chars_max: int, name: Naming) -> None:
        self.columns_max = columns_max
        self.chars_max = chars_max
        self.name = name
        self.known = 0
        self.chars = 0

    @property
    def full(self) -> bool:
        """True once nothing more is remembered: whoever owns the trees should drop them."""
        return self.known >= self.columns_max or self.chars >= self.chars_max

    def admit(self, key: str, above: int) -> bool:
        """Whether to remember a key that stands below keys of `above` characters."""
        chars = len(key) + above
        if len(key) > KEY_CHARS_MAX or chars > PLACE_CHARS_MAX or self.full:
            return False
        self.known += 1
        self.chars += chars
        return True


class Columns(dict[str, str | None]):
    """Key → name in the row, for the keys below one prefix. `None` = not a column: the layout places this key
    itself.

    `children` holds the tree one level down; a key mapped to `None` there is stored as JSON text instead of
    flattened. `own` are the keys that are fields of the protocol.
    """

    __slots__ = ("_above", "children", "depth", "names", "own", "path", "prefix", "source")

    def __init__(
        self,
        names: Names,
        source: int,
        path: str,
        prefix: str = "",
        omit: tuple[str, ...] = (),
        own: frozenset[str] = frozenset(),
        depth: int = 0,
    ) -> None:
        super().__init__(dict.fromkeys(omit))
        self.names = names
        self.source = source
        self.path = path
        self.prefix = prefix
        self.own = own
        self.depth = depth
        self.children: dict[str, Columns | None] = {}
        self._above = len(path) + len(prefix)

    def __missing__(self, key: str) -> str | None:
        name = None if key.startswith(_HINT) else self.names.name(self._place(key))
        if self.names.admit(key, self._above):
            self[key] = name
        return name

    def _place(self, key: str) -> Place:
        column = column_name(self.prefix + (snake_case(key) or "_unnamed"))
        return Place(self._path(key), column, self.source, key in self.own)

    def _path(self, key: str) -> str:
        return f"{self.path}/{key.replace('~', '~0').replace('/', '~1')}"

    def child(self, key: str) -> "Columns | None":
        """The columns below `key`; `None` beyond `DEPTH_MAX`."""
        try:
            return self.children[key]
        except KeyError:
            pass
        if self.depth >= DEPTH_MAX:
            return None
        prefix = self.prefix + (snake_case(key) or "_unnamed") + "_"
        below = Columns(self.names, self.source, self._path(key), prefix, depth=self.depth + 1)
        if self.names.admit(key, self._above):
            self.children[key] = below
        return below


def flatten(source: Mapping[str, Any], columns: Columns, row: dict[str, Value]) -> None:
    """Adds the columns of `source` to `row`, None for a null, `OBJECT` before what is below an object. Raises
    Collision for a name that is in the row already.
    """
    for key, value in source.items():
        column = columns[key]
        if column is None:
            continue
        if column in row:
            raise Collision
        if type(value) in _SCALARS:
            row[column] = value
        elif type(value) is dict:
            _flatten_object(key, value, column, columns, row)
        else:
            put(value, column, row)


def _flatten_object(
    key: str, value: dict[str, Any], column: str, columns: Columns, row: dict[str, Value]
) -> None:
    below = columns.child(key)
    if below is not None:
        row[column] = OBJECT
        flatten(value, below, row)
    else:
        row[column] = _encode(value).decode() if value else OBJECT


def put(value: Any, column: str, row: dict[str, Value]) -> None:
    """One value into one column: a scalar or null as it is, an array or object as JSON text. Raises Collision
    for a name that is in the row already.
    """
    if column in row:
        raise Collision
    row[column] = value if value is None or type(value) in _SCALARS else text_of(value)


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
