"""The byte layout of a WAL value: one value holds what one commit stored of one stream. Pure; any thread.

    header   version u8, codec u8, stream bytes u16, blocks u32, events u32, first offset u64,
             last offset u64, committed_ms u64, checksum of the ids u64
             stream (UTF-8), then per block: bytes u32, events u32, checksum u64
             checksum u64 of all before it
    ids      one u64 message-id hash per event, in offset order
    blocks   each at most 64 KiB unless it holds a single larger event

A block is a run of groups: head bytes u32, items u32, head, one u32 length per item, items. A group that does
not fit goes on in the next block with its head repeated, so each block can be read alone. Offsets are dense
within a value.

Invariants: every byte is under exactly one xxh3_64 checksum, and the header binds the others to stream and
offset, so a changed or misplaced byte is found: the header's costs the value, an id's the ids, a block's that
block. Integers are little-endian; arrays are used as they are in memory, so the host must be little-endian
(checked at open).
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, Protocol

from xxhash import xxh3_64_intdigest

VERSION: Final = 1
CODEC_PLAIN: Final = 0
STREAM_BYTES_MAX: Final = 255

_HEADER: Final = Struct("<BBHIIQQQQ")
_BLOCK: Final = Struct("<IIQ")
_GROUP: Final = Struct("<II")
_LENGTH: Final = Struct("<I")
_U64: Final = Struct("<Q")
_KEY_OFFSET: Final = Struct(">Q")

# 60 KiB of heads and items and 960 lengths stay under 64 KiB, without arithmetic per event.
_BLOCK_BODY_BYTES: Final = 60 * 1024
_BLOCK_EVENTS: Final = 960

EVENT_OVERHEAD_BYTES: Final = 12
"""Bytes of a value per event beside the event: its id and its length."""
GROUP_OVERHEAD_BYTES: Final = _GROUP.size + _BLOCK.size


class Damaged(Exception):  # noqa: N818 - it is what the bytes are
    """Bytes that are not what was written. The text is the reason shown to people."""


def stream_prefix(stream: str) -> bytes:
    """What the keys of a stream's values begin with. Raises ValueError for a name that cannot be a key."""
    name = stream.encode()
    if not name or len(name) > STREAM_BYTES_MAX or b"\0" in name:
        raise ValueError(f"a stream name is 1 to {STREAM_BYTES_MAX} bytes without NUL, not {stream!r}")
    return name + b"\0"


def value_key(prefix: bytes, offset: int) -> bytes:
    """Key of the value whose first offset is `offset`; keys sort by stream, then offset."""
    return prefix + _KEY_OFFSET.pack(offset)


def split_key(key: bytes) -> tuple[str, int]:
    """Stream and first offset of a value's key."""
    return key[: -_KEY_OFFSET.size - 1].decode(), _KEY_OFFSET.unpack_from(key, len(key) - _KEY_OFFSET.size)[0]


class Submission(Protocol):
    """Items that share a head, one id hash each. Items may be any buffers."""

    @property
    def head(self) -> bytes: ...
    @property
    def items(self) -> Sequence[Any]: ...
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def body_bytes(self) -> int: ...


class Part:
    """Some of the items of a submission."""

    __slots__ = ("body_bytes", "head", "ids", "items")

    def __init__(self, head: bytes, items: Sequence[Any], ids: Sequence[int]) -> None:
        self.head = head
        self.items = items
        self.ids = ids
        self.body_bytes = body_bytes(head, items)


def body_bytes(head: bytes, items: Sequence[Any]) -> int:
    """Bytes of a submission in a block, but for its lengths."""
    items_bytes = len(items[0]) if len(items) == 1 else sum(map(len, items))
    return len(head) + items_bytes + GROUP_OVERHEAD_BYTES


class _Blocks:
    """Blocks being filled. Per group one turn of a loop, per event nothing."""

    def __init__(self) -> None:
        self.table: list[bytes] = []
        self.bodies: list[bytes] = []
        self._parts: list[Any] = []
        self._body_bytes = 0
        self._events = 0

    def add(self, groups: Iterable[Submission]) -> None:
        for group in groups:
            items = group.items
            events = self._events + len(items)
            size_bytes = self._body_bytes + group.body_bytes
            if size_bytes <= _BLOCK_BODY_BYTES and events <= _BLOCK_EVENTS:
                self._parts += _laid_out(group.head, items)
                self._body_bytes = size_bytes
                self._events = events
            else:
                self._spread(group)

    def close(self) -> None:
        """End the open block, if it has anything."""
        if not self._parts:
            return
        body = b"".join(self._parts)
        self.bodies.append(body)
        self.table.append(_BLOCK.pack(len(body), self._events, xxh3_64_intdigest(body)))
        self._parts = []
        self._body_bytes = self._events = 0

    def _spread(self, group: Submission) -> None:
        """Add a group to as many blocks as it needs, its head in each."""
        items = group.items
        ends = [0, *accumulate(map(len, items))]
        fixed_bytes = GROUP_OVERHEAD_BYTES + len(group.head)
        start = 0
        while start < len(items):
            room = _BLOCK_BODY_BYTES - self._body_bytes - fixed_bytes
            stop = min(bisect_right(ends, ends[start] + room) - 1, start + _BLOCK_EVENTS - self._events)
            if stop <= start:
                if self._parts:
                    self.close()
                    continue
                stop = start + 1
            part = items[start:stop]
            self._parts += _laid_out(group.head, part)
            self._body_bytes += body_bytes(group.head, part)
            self._events += stop - start
            start = stop


def _laid_out(head: bytes, items: Sequence[Any]) -> tuple[Any, ...]:
    """A group of a block, in pieces."""
    if len(items) == 1:  # nearly every request
        item = items[0]
        return _GROUP.pack(len(head), 1), head, _LENGTH.pack(len(item)), item
    return _GROUP.pack(len(head), len(items)), head, array("I", map(len, items)).tobytes(), *items


def pack_ids(groups: Iterable[Submission]) -> "array[int]":
    """The id hashes of a commit's groups, in offset order."""
    ids = array("Q")
    for group in groups:
        ids.extend(group.ids)
    return ids


def pack(
    stream: str, first: int, committed_ms: int, groups: Sequence[Submission], ids: "array[int]"
) -> bytes:
    """The value that stores `groups` from offset `first` on."""
    blocks = _Blocks()
    blocks.add(groups)
    blocks.close()
    name = stream.encode()
    id_bytes = ids.tobytes()
    header = b"".join(
        (
            _HEADER.pack(
                VERSION,
                CODEC_PLAIN,
                len(name),
                len(blocks.bodies),
                len(ids),
                first,
                first + len(ids) - 1,
                committed_ms,
                xxh3_64_intdigest(id_bytes),
            ),
            name,
            *blocks.table,
        )
    )
    return b"".join((header, _U64.pack(xxh3_64_intdigest(header)), id_bytes, *blocks.bodies))


@dataclass(frozen=True, slots=True)
class Block:
    """Where one block lies in its value, and which offsets it holds."""

    start: int
    stop: int
    first: int
    last: int
    checksum: int


class Value:
    """A value whose header is sound. `view` may be memory of a transaction: it must outlive this object."""

    __slots__ = ("_ids_at", "_ids_checksum", "_view", "blocks", "committed_ms", "first", "last")

    def __init__(self, view: memoryview, stream: str, first: int) -> None:
        """Raises Damaged unless the header is whole and belongs to this stream and first offset."""
        try:
            fields = _HEADER.unpack_from(view)
            table_at = _HEADER.size + fields[2]
            header_end = table_at + _BLOCK.size * fields[3]
            (checksum,) = _U64.unpack_from(view, header_end)
        except struct_error as error:
            raise Damaged("the value is too short for its header") from error
        if xxh3_64_intdigest(view[:header_end]) != checksum:
            raise Damaged("the header of the value does not match its checksum")
        (
            version,
            codec,
            name_bytes,
            _blocks,
            events,
            self.first,
            self.last,
            self.committed_ms,
            ids_checksum,
        ) = fields
        if version != VERSION or codec != CODEC_PLAIN:
            raise Damaged(
                f"the value has version {version} and codec {codec}, which this release cannot read"
            )
        if view[_HEADER.size : _HEADER.size + name_bytes] != stream.encode() or self.first != first:
            raise Damaged("the value belongs to another stream or offset")
        self._view = view
        self._ids_at = header_end + _U64.size
        self._ids_checksum = ids_checksum
        self.blocks = self._place(view[table_at:header_end], self._ids_at + 8 * events)

    def _place(self, table: memoryview, start: int) -> list[Block]:
        blocks = []
        first = self.first
        for size_bytes, events, checksum in _BLOCK.iter_unpack(table):
            blocks.append(Block(start, start + size_bytes, first, first + events - 1, checksum))
            start += size_bytes
            first += events
        if start != len(self._view):
            raise Damaged("the value is not as long as its header says")
        return blocks

    def ids(self) -> "array[int]":
        """The id hashes of all events. Raises Damaged."""
        ids_end = self._ids_at + 8 * (self.last - self.first + 1)
        raw = self._view[self._ids_at : ids_end]
        if xxh3_64_intdigest(raw) != self._ids_checksum:
            raise Damaged("the message ids do not match their checksum")
        ids = array("Q")
        ids.frombytes(raw)
        return ids

    def check(self, block: Block) -> None:
        """Raises Damaged unless the block is what was written."""
        if xxh3_64_intdigest(self._view[block.start : block.stop]) != block.checksum:
            raise Damaged("the block does not match its checksum")

    def groups(self, block: Block) -> list[tuple[int, bytes, list[bytes]]]:
        """(first offset, head, items) of each group of the block, copied out. Raises Damaged."""
        self.check(block)
        return _unpack(bytes(self._view[block.start : block.stop]), block.first)


def _unpack(body: bytes, first: int) -> list[tuple[int, bytes, list[bytes]]]:
    groups = []
    at = 0
    while at < len(body):
        head_bytes, count = _GROUP.unpack_from(body, at)
        lengths_at = at + _GROUP.size + head_bytes
        items_at = lengths_at + 4 * count
        lengths = array("I")
        lengths.frombytes(body[lengths_at:items_at])
        ends = list(accumulate(lengths, initial=items_at))
        groups.append((first, body[at + _GROUP.size : lengths_at], [body[a:b] for a, b in pairwise(ends)]))
        first += count
        at = ends[-1]
    return groups
