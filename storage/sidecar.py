"""What a segment holds, beside its events: ranges per stream and every message-id hash with its place.

In memory for the segment being written; as a file `<number>.ids` for every other. The file rebuilds the
dedupe set at start, says what a segment holds without opening it, and answers `locate`. It is derived:
missing or bad, it is made again from the segment (verify.py, whose child sends the same bytes through a
pipe). It is written without fsync because its checksum tells.

Ids lie in the order of their offsets and are found by scanning: 0.3 ms for the 90 K ids of a 64 MiB segment
(measured), against 110 ms of the GIL to sort them. Threads: one adds, any finds.

File: magic 8 bytes, then u32 length of a JSON description, the description, the runs (three u64 each: number
of the stream in the description, first offset, events), the ids (u64 each), and an xxh3_64 of everything
before.
"""

import json
import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from xxhash import xxh3_64_intdigest

MAGIC: Final = b"PNSTIDS1"
_U32: Final = Struct("<I")
_U64: Final = Struct("<Q")
_RUN_FIELDS: Final = 3


class Span:
    """Offsets of one stream in a segment. `number` is the place of the stream in the description."""

    __slots__ = ("events", "first", "last", "number")

    def __init__(self, number: int, first: int, last: int, events: int) -> None:
        self.number = number
        self.first = first
        self.last = last
        self.events = events


class SegmentIndex:
    """Contents of a segment. `heads_before`, every last offset before it, chains the segments."""

    def __init__(self, store_id: str, number: int, heads_before: dict[str, int]) -> None:
        self.store_id = store_id
        self.number = number
        self.heads_before = heads_before
        self.spans: dict[str, Span] = {}
        self.first_ms = 0
        self.last_ms = 0
        self._streams: list[str] = []
        self._runs = array("Q")
        self._ids = array("Q")

    @property
    def events(self) -> int:
        """Events in the segment, damaged ones included."""
        return sum(span.events for span in list(self.spans.values()))

    def heads(self) -> dict[str, int]:
        """The last offsets of every stream after this segment."""
        return self.heads_before | {stream: span.last for stream, span in self.spans.items()}

    def cover(self, stream: str, first: int, last: int, committed_ms: int) -> None:
        """Offsets that a commit stored."""
        span = self.spans.get(stream)
        if span is None:
            self.spans[stream] = Span(len(self._streams), first, last, last - first + 1)
            self._streams.append(stream)
        else:
            span.events += last - first + 1
            span.last = last
        self.first_ms = self.first_ms or committed_ms
        self.last_ms = max(self.last_ms, committed_ms)

    def add_ids(self, stream: str, first: int, ids: "array[int]") -> None:
        """The ids of events from offset `first` on; their stream is already covered."""
        number = self.spans[stream].number
        runs = self._runs
        if len(runs) and runs[-3] == number and runs[-2] + runs[-1] == first:
            runs[-1] += len(ids)
        else:
            runs.extend((number, first, len(ids)))
        # Last, so that a reader beside us never finds an id without its run.
        self._ids.extend(ids)

    def ids(self) -> "array[int]":
        """Every id, oldest first."""
        return self._ids

    def find(self, id_hash: int) -> Iterator[tuple[str, int]]:
        """(stream, offset) of each event with this id."""
        raw = self._ids.tobytes()
        needle = _U64.pack(id_hash)
        at = raw.find(needle)
        while at >= 0:
            if at % _U64.size == 0:
                yield self._place(at // _U64.size)
            at = raw.find(needle, at + 1)

    def _place(self, index: int) -> tuple[str, int]:
        runs = self._runs.tolist()
        for at in range(0, len(runs), _RUN_FIELDS):
            number, first, events = runs[at : at + _RUN_FIELDS]
            if index < events:
                return self._streams[number], first + index
            index -= events
        raise IndexError(index)

    def encode(self) -> bytes:
        """The file's content."""
        description = {
            "store_id": self.store_id,
            "number": self.number,
            "heads_before": self.heads_before,
            "spans": [[name, s.first, s.last, s.events] for name, s in self.spans.items()],
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "runs": len(self._runs) // _RUN_FIELDS,
        }
        text = json.dumps(description).encode()
        body = b"".join((MAGIC, _U32.pack(len(text)), text, self._runs.tobytes(), self._ids.tobytes()))
        return body + _U64.pack(xxh3_64_intdigest(body))

    def save(self, path: Path) -> None:
        """Write the file whole, by rename. Raises OSError."""
        temporary = path.with_name(path.name + ".tmp")
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(self.encode())
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def load(path: Path) -> SegmentIndex | None:
    """The index in a file; None if it is missing, unreadable or not what was written."""
    try:
        return decode(path.read_bytes())
    except OSError:
        return None


def decode(raw: bytes) -> SegmentIndex | None:
    """What `encode` made; None if it is not whole."""
    try:
        body = raw[: -_U64.size]
        if raw[: len(MAGIC)] != MAGIC or _U64.unpack(raw[-_U64.size :])[0] != xxh3_64_intdigest(body):
            return None
        (text_bytes,) = _U32.unpack_from(body, len(MAGIC))
    except struct_error:
        return None
    text_at = len(MAGIC) + _U32.size
    return _decode(json.loads(body[text_at : text_at + text_bytes]), body[text_at + text_bytes :])


def _decode(description: dict[str, Any], arrays: bytes) -> SegmentIndex:
    index = SegmentIndex(description["store_id"], description["number"], description["heads_before"])
    for name, first, last, events in description["spans"]:
        index.spans[name] = Span(len(index._streams), first, last, events)
        index._streams.append(name)
    index.first_ms = description["first_ms"]
    index.last_ms = description["last_ms"]
    ids_at = description["runs"] * _RUN_FIELDS * _U64.size
    index._runs.frombytes(arrays[:ids_at])
    index._ids.frombytes(arrays[ids_at:])
    return index
