"""One column of a block of rows to cells: the result of its cell encoder row by row, several times faster.

Most columns of a block hold values of one Python type; for those the loop does only what that type needs. It
is tried without looking first: whatever is unusual (None or another type in between, NUL, lone surrogates,
very long texts, integers beyond 64 bits) raises, and the column takes the cell encoder instead. Pure.
"""

import struct
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, Final

from server.warehouse.copy import FALSE, LENGTHS, NULL, TRUE, pack_bigint, pack_double, text_cell
from server.warehouse.rows import Value
from server.warehouse.types import FRACTIONS, SECONDS, ColumnType, timestamp_us

_SAMPLE: Final = 32  # texts looked at to tell a column of few distinct ones
_SAMPLE_DISTINCT_MAX: Final = 24
_TEXT_KINDS: Final = frozenset({str, NoneType})
_FLOATS_ONLY: Final = {float}
_EXACT_IN_A_DOUBLE_MAX: Final = 2**53
_TRUTHS: Final = {True: TRUE, False: FALSE, None: NULL}


class _UnusualError(Exception):
    """The column has to be encoded value by value."""


def fast_cells(values: Sequence[Value], wire: ColumnType) -> list[bytes] | None:
    """A cell for each value, NULL for None; or None if some value needs a closer look."""
    try:
        return _FAST[wire](values)
    except (_UnusualError, TypeError, KeyError, IndexError, OverflowError, UnicodeError, struct.error):
        return None


def _of_few(values: Sequence[Any], encode: Callable[[str], bytes]) -> list[bytes] | None:
    """For texts that repeat: each is encoded once. None if they seem to be mostly different ones."""
    if len(set(values[:_SAMPLE])) > _SAMPLE_DISTINCT_MAX:
        return None
    distinct = set(values)
    if not set(map(type, distinct)) <= _TEXT_KINDS:
        raise _UnusualError
    known = {text: NULL if text is None else encode(text) for text in distinct}
    return list(map(known.__getitem__, values))


def _texts(values: Sequence[Any]) -> list[bytes]:
    cells = _of_few(values, text_cell)
    if cells is not None:
        return cells
    if "\0" in "".join(values):  # TypeError unless all are texts
        raise _UnusualError
    return [LENGTHS[len(data := text.encode())] + data for text in values]


def _time(text: str) -> bytes:
    return pack_bigint(8, timestamp_us(text))


def _times(values: Sequence[Any]) -> list[bytes]:
    cells = _of_few(values, _time)  # a request has one time of receipt
    if cells is not None:
        return cells
    try:
        return [pack_bigint(8, SECONDS[text[:19]] + FRACTIONS[text[19:]]) for text in values]
    except KeyError:  # seconds that were not seen yet, or an unusual form
        return [pack_bigint(8, timestamp_us(text)) for text in values]


def _integers(values: Sequence[Any]) -> list[bytes]:
    return [pack_bigint(8, number) for number in values]


def _floats(values: Sequence[Any]) -> list[bytes]:
    if set(map(type, values)) != _FLOATS_ONLY:
        integers = [number for number in values if type(number) is int]
        if (
            integers
            and not -_EXACT_IN_A_DOUBLE_MAX <= min(integers) <= max(integers) <= _EXACT_IN_A_DOUBLE_MAX
        ):
            raise _UnusualError  # packing would round it
    return [pack_double(8, number) for number in values]


def _booleans(values: Sequence[Any]) -> list[bytes]:
    return list(map(_TRUTHS.__getitem__, values))


# jsonb is not among them: each value has its own way in.
_FAST: Final[dict[ColumnType, Callable[[Sequence[Any]], list[bytes]]]] = {
    ColumnType.TEXT: _texts,
    ColumnType.TIMESTAMPTZ: _times,
    ColumnType.BIGINT: _integers,
    ColumnType.DOUBLE: _floats,
    ColumnType.BOOLEAN: _booleans,
}
