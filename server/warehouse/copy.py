"""Binary COPY: from a row's values straight to bytes. The hot path of delivery; pure, and called in short
slices.

A cell is a four-byte length and the value's binary form; a row is a two-byte cell count and its cells. A
cell encoder returns None for a value that does not fit its column. Nothing here touches a connection.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from struct import Struct
from typing import Final

from server.warehouse.rows import Value
from server.warehouse.types import (
    BIGINT_MAX,
    BIGINT_MIN,
    Check,
    ColumnType,
    plain_text,
    timestamp_us,
    to_bigint,
    to_boolean,
    to_double,
    to_json,
    to_text,
    to_timestamp_us,
)

CellEncoder = Callable[[Value], bytes | None]

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"
CHUNK_BYTES: Final = 1_048_576  # asyncpg waits for flow control once per chunk

_length = Struct(">i")
_count = Struct(">h")
_ordinal = Struct(">ii")
TRUE: Final = b"\0\0\0\1\1"
FALSE: Final = b"\0\0\0\1\0"
_JSONB_VERSION: Final = b"\1"

# Most texts are short: indexing beats packing by half.
LENGTHS_MAX: Final = 2048
LENGTHS: Final = [_length.pack(n) for n in range(LENGTHS_MAX)]

pack_bigint: Final = Struct(">iq").pack
pack_double: Final = Struct(">id").pack


def cell(data: bytes) -> bytes:
    """The bytes of a value with their length in front."""
    size = len(data)
    return (LENGTHS[size] if size < LENGTHS_MAX else _length.pack(size)) + data


def text_cell(value: Value) -> bytes:
    if type(value) is str:
        try:
            data = value.encode()
        except UnicodeEncodeError:
            data = plain_text(value).encode()
        if 0 in data:
            data = data.replace(b"\0", b"")
    else:
        data = to_text(value).encode()
    size = len(data)
    return (LENGTHS[size] if size < LENGTHS_MAX else _length.pack(size)) + data


def bigint_cell(value: Value) -> bytes | None:
    if type(value) is int and BIGINT_MIN <= value <= BIGINT_MAX:
        return pack_bigint(8, value)
    number = to_bigint(value)
    return None if number is None else pack_bigint(8, number)


def double_cell(value: Value) -> bytes | None:
    if type(value) is float:
        return pack_double(8, value)
    number = to_double(value)
    return None if number is None else pack_double(8, number)


def timestamp_cell(value: Value) -> bytes | None:
    moment = timestamp_us(value) if type(value) is str else None
    if moment is None:
        moment = to_timestamp_us(value)
    return None if moment is None else pack_bigint(8, moment)


def boolean_cell(value: Value) -> bytes | None:
    truth = to_boolean(value)
    return None if truth is None else TRUE if truth else FALSE


def json_cell(value: Value) -> bytes | None:
    data = to_json(value)
    return None if data is None else cell(_JSONB_VERSION + data)


def raw_json_cell(data: bytes) -> bytes:
    """A jsonb cell of JSON text that is known to be valid."""
    return cell(_JSONB_VERSION + data)


_ENCODERS: Final[dict[ColumnType, CellEncoder]] = {
    ColumnType.TEXT: text_cell,
    ColumnType.BIGINT: bigint_cell,
    ColumnType.DOUBLE: double_cell,
    ColumnType.TIMESTAMPTZ: timestamp_cell,
    ColumnType.BOOLEAN: boolean_cell,
    ColumnType.JSONB: json_cell,
}


def cell_encoder(wire: ColumnType, check: Check | None = None) -> CellEncoder:
    """The encoder of one column; `check` refuses values that the wire type holds but the column does not."""
    encode = _ENCODERS[wire]
    if check is None:
        return encode
    return lambda value: encode(value) if check(value) else None


def row_head(cells: int) -> bytes:
    """What a row of so many cells begins with."""
    return _count.pack(cells)


def split_row(row: bytes) -> list[bytes]:
    """A row back into [head, cell, cell, …]."""
    parts = [row[:2]]
    at = 2
    while at < len(row):
        size: int = _length.unpack_from(row, at)[0]
        end = at + 4 + max(size, 0)
        parts.append(row[at:end])
        at = end
    return parts


def numbered(row: bytes, ordinal: int) -> bytes:
    """The row with an integer cell put in front."""
    count: int = _count.unpack_from(row)[0]
    return _count.pack(count + 1) + _ordinal.pack(4, ordinal) + row[2:]


def chunked(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Rows joined into chunks of at least CHUNK_BYTES (the last one may be smaller), one at a time."""
    waiting: list[bytes] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += len(row)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting = []
            size = 0
    if waiting:
        yield b"".join(waiting)


async def copy_stream(rows: Iterable[bytes], progressed: Callable[[], None]) -> AsyncIterator[bytes]:
    """What asyncpg is fed with: it must be an async iterator, bare bytes would be taken for a file name.

    `progressed` is called each time the socket took a chunk, so that a stall can be told from a long load.
    """
    yield HEADER
    for chunk in chunked(rows):
        yield chunk
        progressed()
        await asyncio.sleep(0)  # asyncpg itself gives the loop back only when the socket is full
    yield TRAILER
