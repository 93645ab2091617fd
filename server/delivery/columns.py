"""Flattening: nested JSON objects → one dict of column → value, through a tree of cached column names.

Rules (Jitsu's, so that a table made by it can be taken over): every key at every depth is brought to the
layout's `Case`; objects are joined by `_`; an empty key is `_unnamed`; an empty object and a null give no
column; an array is JSON text.

Invariants: nothing here changes an event; the `Columns` trees of one `Names` never hold more than it allows
(beyond that names are computed anew, the owner drops the trees when `Names.full` says so); objects deeper
than `DEPTH_MAX` are stored as JSON text; no value takes the place of another: `Collision` is raised, and
collisions.py decides. Thread: a tree belongs to the thread that uses it (the event loop).
"""

from collections.abc import Callable, Mapping
from functools import partial
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

HINT: Final = "__sql_type"
"""How the keys of hints about column types begin: they are no columns."""

_RENAME_DEPTH_MAX: Final = 64
_UNNAMED: Final = "_unnamed"
_SCALARS: Final = frozenset({str, int, float, bool})
_encode: Final = (
    msgspec.json.Encoder().encode
)  # takes integers beyond 64 bits and ~1,000 levels; orjson takes neither


class Case(NamedTuple):
    """How keys become names: `key` one key (the empty one is `_unnamed` whatever it says), `text` the JSON
    text of what is not flattened.
    """

    key: Callable[[str], str]
    text: Callable[[Any], str]


class Collision(Exception):  # noqa: N818 - no error: it says that the event takes the longer way
    """Two places of one event give the same column."""


class Place(NamedTuple):
    """Where a value stands in an event.

    path    JSON pointer.
    column  the column it would go into.
    source  the place, in the order of the layout, of the part of the event that it belongs to.
    own     whether it is the protocol's field for that column.
    barred  whether it may not have that column, which takes nothing but its own field.
    """

    path: str
    column: str
    source: int
    own: bool
    barred: bool = False


Naming = Callable[[Place], str]


class Names:
    """What the trees of one layout share: how keys are spelt, what a place is called in the row, which
    columns are guarded (stamps.py), and the bound of how many columns (and characters of keys) they may
    remember together.
    """

    __slots__ = ("case", "chars", "chars_max", "columns_max", "guarded", "known", "name")

    def __init__(
        self, case: Case, guarded: frozenset[str], name: Naming, columns_max: int, chars_max: int
    ) -> None:
        self.case = case
        self.guarded = guarded
        self.name = name
        self.columns_max = columns_max
        self.chars_max = chars_max
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
        name = None if key.startswith(HINT) else self.names.name(self._place(key))
        if self.names.admit(key, self._above):
            self[key] = name
        return name

    def _place(self, key: str) -> Place:
        column = column_name(self.prefix + self._spelt(key))
        own = key in self.own
        return Place(self._path(key), column, self.source, own, not own and column in self.names.guarded)

    def _spelt(self, key: str) -> str:
        return self.names.case.key(key) or _UNNAMED

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
        prefix = self.prefix + self._spelt(key) + "_"
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
            put(value, column, row, columns.names.case)


def _flatten_object(
    key: str, value: dict[str, Any], column: str, columns: Columns, row: dict[str, Value]
) -> None:
    below = columns.child(key)
    if below is not None:
        row[column] = OBJECT
        flatten(value, below, row)
    else:
        row[column] = _encode(value).decode() if value else OBJECT


def put(value: Any, column: str, row: dict[str, Value], case: Case) -> None:
    """One value into one column: a scalar or null as it is, an array or object as JSON text. Raises Collision
    for a name that is in the row already.
    """
    if column in row:
        raise Collision
    row[column] = value if value is None or type(value) in _SCALARS else case.text(value)


def case_of(key: Callable[[str], str]) -> Case:
    """The case that spells every key by `key`, also the keys in JSON text."""
    return Case(key, partial(_text_of, key))


def _text_of(key: Callable[[str], str], value: Any) -> str:
    return _encode(_respelt(value, key, 0)).decode()


def _respelt(value: Any, key: Callable[[str], str], depth: int) -> Any:
    """What is below an array, with its keys as columns have them. Deep ends keep their keys."""
    if depth > _RENAME_DEPTH_MAX:
        return value
    if type(value) is list:
        return [_respelt(item, key, depth + 1) if type(item) in (dict, list) else item for item in value]
    if type(value) is dict:
        return {key(name) or _UNNAMED: _respelt(item, key, depth + 1) for name, item in value.items()}
    return value


def _as_it_is(value: Any) -> str:
    return _encode(value).decode()


SNAKE: Final = case_of(snake_case)
ORIGINAL: Final = Case(str, _as_it_is)
