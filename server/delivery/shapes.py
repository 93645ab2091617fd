"""Short cuts through a layout: events of one shape (the same keys, nested alike) give the same columns.

A shape is not described anywhere but learned: the layout is shown an event with a marker in place of every
value, and where the markers come out says which value goes into which column. So the layout remains the only
copy of the rules (which of two keys gets a column is decided here once), and whatever is not that plain (a
key that is no column, a value that decides something) has no shape and takes the layout itself.

Invariants: a short cut gives what the layout gives; an event is never changed; memory and the time spent on
learning are bounded, also when every event has keys of its own. Thread: an instance belongs to one thread.
"""

from collections.abc import Callable, Hashable, Mapping
from operator import itemgetter
from typing import Any, Final

from server.warehouse import KEY_CHARS_MAX, Shape, Value

from .collisions import Rivals, is_repeated
from .columns import text_of

SHAPES_MAX: Final = 256
"""Remembered together; beyond that all are forgotten and learned anew."""

LEARN_EVERY: Final = 16
"""At most one event of so many is learned from: that takes as long as laying out ten."""

_ALIKE_MAX: Final = 4  # shapes tried for an event, the latest match first
_LEAVES_MAX: Final = 256
_CHARS_MAX: Final = 8_192  # of all keys together
_OBJECTS_MAX: Final = 32
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_DECIDING: Final = frozenset({"groupId", "JITSU_TABLE_NAME"})  # their values decide where something goes

_NONE: Final[list["ShortCut"]] = []

Event = Mapping[str, Any]
Lay = Callable[[Any, dict[str, Any]], tuple[dict[str, Value], Rivals]]
_Part = tuple[int, str, int, Callable[[Any], tuple[Any, ...]]]


class ShortCut:
    """How to get from an event of one shape to the cells of its row."""

    __slots__ = ("_parts", "_rivals", "_root", "_size", "shape")

    def __init__(self, shape: Shape, objects: "list[_Object]", rivals: Rivals) -> None:
        self.shape = shape
        places = {name: at for at, name in enumerate(shape.names)}
        self._rivals = [
            (places[aside], places[column])
            for aside, column in rivals.items()
            if aside in places and column in places
        ]
        root, *below = objects
        self._size = root.size
        self._root = _getter(root.leaves)
        self._parts: list[_Part] = [
            (part.parent, part.key, part.size, _getter(part.leaves)) for part in below
        ]

    def cells(self, event: Event) -> list[Value] | None:
        """The row's values in the order of `shape.names`; None if the event has another shape."""
        if len(event) != self._size:
            return None
        try:
            cells = [*self._root(event)]
            objects = [event]
            for parent, key, size, get in self._parts:
                part = objects[parent][key]
                if len(part) != size:
                    return None
                objects.append(part)
                cells.extend(get(part))
        except (KeyError, TypeError):  # what is no object cannot be asked for a key
            return None
        told = cells if _PLAIN.issuperset(map(type, cells)) else _with_texts(cells)
        if self._rivals and told is not None:
            for aside, column in self._rivals:
                if is_repeated(told[aside], told[column]):
                    told[aside] = None
        return told


class ShortCuts:
    """The shapes that one layout has met. `lay` is the layout: type and event to columns."""

    def __init__(self, lay: Lay) -> None:
        self._lay = lay
        self._known: dict[Hashable, list[ShortCut]] = {}
        self._count = 0
        self._wait = 0

    def find(self, kind: Any, event: dict[str, Any]) -> tuple[Shape, list[Value]] | None:
        """The shape and cells of an event of that type; None if it has to be laid out at length."""
        alike = (kind, event.get("event"), len(event))
        try:
            known = self._known.get(alike, _NONE)
        except TypeError:  # not even the type is a plain value
            return None
        for at, short_cut in enumerate(known):
            cells = short_cut.cells(event)
            if cells is not None:
                if at:
                    known.insert(0, known.pop(at))
                return short_cut.shape, cells
        if self._wait:
            self._wait -= 1
        else:
            self._wait = LEARN_EVERY
            self._learn(alike, kind, event)
        return None

    def _learn(self, alike: tuple[Any, ...], kind: Any, event: dict[str, Any]) -> None:
        objects = _objects(event)
        if objects is None or len(str(alike)) > _CHARS_MAX:
            return
        row, rivals = self._lay(kind, _marked(objects))
        names = _names(row, objects)
        if names is None:
            return
        if self._count >= SHAPES_MAX:
            self._known.clear()
            self._count = 0
        known = self._known.setdefault(alike, [])
        known.insert(0, ShortCut(Shape(names), objects, rivals))
        self._count += 1
        if len(known) > _ALIKE_MAX:
            known.pop()
            self._count -= 1


class _Object:
    """One object of an event: where it is, and which of its keys hold values."""

    __slots__ = ("key", "leaves", "parent", "size")

    def __init__(self, parent: int, key: str, source: dict[str, Any]) -> None:
        self.parent = parent
        self.key = key
        self.size = len(source)
        self.leaves = tuple(name for name, value in source.items() if type(value) is not dict)


def _objects(event: dict[str, Any]) -> list[_Object] | None:
    """The event's objects, outer ones first; None if there are too many, or a value in them decides."""
    objects: list[_Object] = []
    waiting = [(0, "", event)]
    leaves = chars = 0
    for parent, key, source in waiting:
        objects.append(_Object(parent, key, source))
        leaves += len(source)
        chars += sum(map(len, source))
        if leaves > _LEAVES_MAX or chars > _CHARS_MAX or len(objects) > _OBJECTS_MAX:
            return None
        if max(map(len, source), default=0) > KEY_CHARS_MAX:
            return None
        if not _DECIDING.isdisjoint(source):
            return None
        here = len(objects) - 1
        waiting += [(here, name, value) for name, value in source.items() if type(value) is dict]
    return objects


def _marked(objects: list[_Object]) -> dict[str, Any]:
    """An event of the same shape, with the number of each value (in the order of the cells) in its place."""
    numbers = iter(range(_LEAVES_MAX))
    made: list[dict[str, Any]] = []
    for part in objects:
        made.append({name: next(numbers) for name in part.leaves})
        if len(made) > 1:
            made[part.parent][part.key] = made[-1]
    return made[0]


def _names(row: dict[str, Value], objects: list[_Object]) -> tuple[str, ...] | None:
    """The column of each value; None unless every value has one of its own, and nothing else came out."""
    by_number = {number: column for column, number in row.items() if type(number) is int}
    count = sum(len(part.leaves) for part in objects)
    if len(row) != count or by_number.keys() != set(range(count)):
        return None
    return tuple(by_number[number] for number in range(count))


def _getter(keys: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """As itemgetter, always to a tuple. Raises TypeError or KeyError for what is not an object with them."""
    if len(keys) > 1:
        return itemgetter(*keys)
    if not keys:
        return _nothing
    (key,) = keys
    return lambda source: (source[key],)


def _nothing(source: Any) -> tuple[()]:
    if type(source) is not dict:
        raise TypeError
    return ()


def _with_texts(cells: list[Any]) -> list[Value] | None:
    """Arrays as JSON text; None if there is an object, which makes it another shape."""
    if dict in map(type, cells):
        return None
    return [text_of(value) if type(value) is list else value for value in cells]
