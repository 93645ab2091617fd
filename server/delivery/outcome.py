"""What became of the events of one batch: the bytes that travel in the batch's own transaction and come back
at recovery.

An outcome names every offset of the batch that did not land as rows, so an event is landed or dead-lettered
or dropped or parked, never two of these and never none. Encoding: msgpack arrays; a field added later goes to
the end with a default, so an older row stays readable.
"""

from typing import Final

import msgspec


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """An event the destination, or its own decoding, refuses for good: it becomes a dead letter. `sqlstate`
    "" = not Postgres.
    """

    offset: int
    reason: str
    sqlstate: str = ""


class Dropped(msgspec.Struct, frozen=True, array_like=True):
    """A range of offsets, both ends included, that ends without delivery for a counted reason."""

    first: int
    last: int
    reason: str


class Parked(msgspec.Struct, frozen=True, array_like=True):
    """Events that wait for a table that is locked; `offsets` as `lanes.pack` has them."""

    table: str
    offsets: tuple[int, ...]


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """One batch: `delivered` events landed as rows, the others are named.

    `taken` names the chunks of lanes (table, first offset) whose events the batch consisted of; `release` is
    the number of such batches so far, this one included. `left_out` is the number of events (or dropped
    ranges) of the link that landed with no batch so far: refused, parked and dropped ones, this batch's
    included.
    """

    delivered: int
    refused: tuple[Refused, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    parked: tuple[Parked, ...] = ()
    taken: tuple[tuple[str, int], ...] = ()
    release: int = 0
    left_out: int = 0


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Outcome)


def encode(outcome: Outcome) -> bytes:
    """The bytes stored beside the progress row."""
    return _encoder.encode(outcome)


def decode(data: bytes) -> Outcome:
    """The reverse of `encode`. Raises msgspec.DecodeError for bytes that are not an outcome."""
    return _decoder.decode(data)
