"""Short cuts through a layout: events of one shape (the same keys, nested alike) give the same columns of
the same rows.

A shape is not described anywhere but learned: the layout is shown an event with a marker in place of every
value, and where the markers come out says which value goes into which column. So the layout remains the only
copy of the rules (which of two keys gets a column is decided here once), and whatever is not that plain (a
key that is no column, a value that decides something) has no shape and takes the layout itself.

Invariants: a short cut gives what the layout gives; an event is never changed; memory and the time spent on
learning are bounded, also when every event has keys of its own. Thread: an instance belongs to one thread.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import count
from operator import itemgetter
from typing import Any, Final, Protocol

from server.warehouse import KEY_CHARS_MAX, AnyRow, Shape, ShapedRow, Value

from .collisions import Rivals, is_repeated
from .columns import HINT, Case

SHAPES_MAX: Final = 256
"""Remembered together; beyond that all are forgotten and learned anew."""

LEARN_EVERY: Final = 16
"""At most one event of so many is learned from: that takes as long as laying out ten."""

_ALIKE_MAX: Final = 4  # shapes tried for an event, the latest match first
_LEAVES_MAX: Final = 256
_CHARS_MAX: Final = 8_192  # of all keys together
_OBJECTS_MAX: Final = 32
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})

_NONE: Final[list["ShortCut"]] = []

Event = dict[str, Any]
Told = tuple[dict[str, Value], Rivals]
"""All that one row says, and which of it lost to which column."""
Made = Callable[[Event], Sequence[Any]]
_Part = tuple[int, str, int, Callable[[Any], tuple[Any, ...]]]


class Teacher(Protocol):
    """What short cuts are learned from, and must not differ from: the layout.

    deciding   keys whose values, not only whose presence, decide where something goes.
    undecided  forms in which any value may.
    made       the values that rows have beside those of the event's keys, None if there are none.
    """

    deciding: frozenset[str]
    undecided: frozenset[str]
    made: Made | None

    def form(self, event: Event, named: str | None) -> tuple[Any, tuple[str, ...]]:
        """What decides about the rows beside the keys of the event: nothing but its `type`, its `event` and
        whether a table is named for it. And the table of each row.
        """
        ...

    def told(self, form: Any, event: Event, made: Sequence[Any]) -> Sequence[Told]:
        """What each row says."""
        ...


class _Out:
    """One of the rows that a short cut ends in: `names` has the column of the value of each number."""

    __slots__ = ("pick", "rivals", "shape", "table")

    def __init__(self, table: str, names: dict[int, str], count: int, rivals: Rivals) -> None:
        columns = tuple(names.values())
        places = {name: at for at, name in enumerate(columns)}
        self.table = table
        self.shape = Shape(columns)
        self.pick = None if len(names) == count else _getter(tuple(names))
        self.rivals = [
            (places[aside], places[column])
            for aside, column in rivals.items()
            if aside in places and column in places
        ]

    def of(self, cells: list[Value]) -> Sequence[Value]:
        """Those of the values that it names, a repeat of what another says taken out."""
        picked: Sequence[Value] = cells if self.pick is None else self.pick(cells)
        if not self.rivals:
            return picked
        told = [*picked]
        for aside, column in self.rivals:
            if is_repeated(told[aside], told[column]):
                told[aside] = None
        return told


class ShortCut:
    """How to get from an event of one shape to its rows."""

    __slots__ = ("_case", "_made", "_only", "_outs", "_parts", "_root", "_size")

    def __init__(self, outs: list[_Out], objects: "list[_Object]", case: Case, made: Made | None) -> None:
        self._outs = outs
        self._case = case
        self._made = made
        (first, *others), (root, *below) = outs, objects
        self._only = None if others or first.pick or first.rivals else first
        self._size = root.size
        self._root = _getter(root.leaves)
        self._parts: list[_Part] = [
            (part.parent, part.key, part.size, _getter(part.leaves)) for part in below
        ]

    def take(self, offset: int, event: Event, named: str | None, rows: list[AnyRow]) -> bool:
        """Appends the rows of the event, to the table `named` if there is one; False if it has another
        shape.
        """
        if len(event) != self._size:
            return False
        try:
            cells = [*self._root(event)]
            objects = [event]
            for parent, key, size, get in self._parts:
                part = objects[parent][key]
                if len(part) != size:
                    return False
                objects.append(part)
                cells.extend(get(part))
        except (KeyError, TypeError):  # what is no object cannot be asked for a key
            return False
        if self._made is not None:
            cells.extend(self._made(event))
        if not _PLAIN.issuperset(map(type, cells)) and not self._as_texts(cells):
            return False
        only = self._only
        if only is not None:
            rows.append(ShapedRow(offset, named or only.table, only.shape, cells))
        else:
            rows += [ShapedRow(offset, named or out.table, out.shape, out.of(cells)) for out in self._outs]
        return True

    def _as_texts(self, cells: list[Any]) -> bool:
        """Makes arrays JSON text; False if there is an object, which makes it another shape."""
        for at, value in enumerate(cells):
            if type(value) is dict:
                return False
            if type(value) is list:
                cells[at] = self._case.text(value)
        return True


class ShortCuts:
    """The shapes that one layout has met."""

    def __init__(self, teacher: Teacher, case: Case) -> None:
        self._teacher = teacher
        self._case = case
        self._known: dict[Hashable, list[ShortCut]] = {}
        self._count = 0
        self._wait = 0

    def take(self, offset: int, event: Event, named: str | None, rows: list[AnyRow]) -> bool:
        """Appends the rows of an event; False if it has to be laid out at length."""
        alike: tuple[Any, ...] = (event.get("type"), event.get("event"), len(event))
        if named is not None:
            alike = (*alike, True)
        try:
            known = self._known.get(alike, _NONE)
        except TypeError:  # not even the type is a plain value
            return False
        for at, short_cut in enumerate(known):
            if short_cut.take(offset, event, named, rows):
                if at:
                    known.insert(0, known.pop(at))
                return True
        if self._wait:
            self._wait -= 1
        else:
            self._wait = LEARN_EVERY
            self._learn(alike, event, named)
        return False

    def _learn(self, alike: tuple[Any, ...], event: Event, named: str | None) -> None:
        teacher = self._teacher
        form, tables = teacher.form(event, named)
        objects = None if form in teacher.undecided else _objects(event, teacher.deciding)
        if objects is None or len(str(alike)) > _CHARS_MAX:
            return
        marked, leaves = _marked(objects)
        made = range(leaves, leaves + (len(teacher.made(event)) if teacher.made is not None else 0))
        outs: list[_Out] = []
        for table, (row, rivals) in zip(tables, teacher.told(form, marked, made), strict=True):
            names = _names(row)
            if names is None:
                return
            outs.append(_Out(table, names, made.stop, rivals))
        if self._count >= SHAPES_MAX:
            self._known.clear()
            self._count = 0
        known = self._known.setdefault(alike, [])
        known.insert(0, ShortCut(outs, objects, self._case, teacher.made))
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


def _objects(event: dict[str, Any], deciding: frozenset[str]) -> list[_Object] | None:
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
        if not deciding.isdisjoint(source) or any(key.startswith(HINT) for key in source):
            return None
        here = len(objects) - 1
        waiting += [(here, name, value) for name, value in source.items() if type(value) is dict]
    return objects


def _marked(objects: list[_Object]) -> tuple[dict[str, Any], int]:
    """An event of the same shape, with the number of each value (in the order of the cells) in its place; and
    how many there are.
    """
    numbers = count()
    made: list[dict[str, Any]] = []
    for part in objects:
        made.append({name: next(numbers) for name in part.leaves})
        if len(made) > 1:
            made[part.parent][part.key] = made[-1]
    return made[0], next(numbers)


def _names(row: dict[str, Value]) -> dict[int, str] | None:
    """Number → column, in the order of the numbers; None if the row says something that is no value of the
    event, or one twice. A value that is in no row is one whose key has no column, whatever it is.
    """
    by_number = {number: column for column, number in row.items() if type(number) is int}
    return dict(sorted(by_number.items())) if row and len(by_number) == len(row) else None


def _getter(keys: tuple[Any, ...]) -> Callable[[Any], tuple[Any, ...]]:
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
