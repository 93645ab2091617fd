"""The catalog record of one link's progress: what the local side knows, to be held against the progress row
at the destination.

Invariants: `last` is the highest offset of which everything before is delivered, dead-lettered or dropped
AND whose outcome is in the catalog (they move in one write). `in_doubt` is the batch whose flush may have
landed: written before the flush begins, taken away by the write that applies its outcome. Counters move in
that same write, so applying an outcome twice cannot count twice. Encoding: msgpack arrays; a field added
later goes to the end with a default.
"""

from typing import Final

import msgspec

from storage import Put, TableEnv

from .stays import Stays

TABLE: Final = "checkpoints"
_NO_GENERATION: Final = 0


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """A batch about to be flushed under the epoch of its checkpoint, to the database `place`: the events in
    (after, last].
    """

    batch_id: str
    after: int
    last: int
    place: str = ""


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """Progress of one link and generation.

    `generation` is the link's own; `key_generation` that of its progress row, which also grows when this
    store was found to be older than the destination. `begin` is where a new link starts reading: what is at
    or before it was never its own. `due_ms` is the wall time at which a mode-batch link flushes, None =
    nothing waits. `release` counts the batches of parked events that landed; `paused`: by an operator.
    `left_out` is that of the last outcome applied. `stream` is whose offsets these are ("" in records from
    before there was the field); `removed_ms` when the link was deleted. `stays` says for which database all
    this holds.
    """

    generation: int
    key_generation: int
    epoch: int = 0
    last: int = 0
    in_doubt: Intent | None = None
    begin: int = 0
    due_ms: int | None = None
    delivered: int = 0
    dead_letters: int = 0
    dropped: int = 0
    release: int = 0
    paused: bool = False
    left_out: int = 0
    stream: str = ""
    removed_ms: int | None = None
    stays: Stays = Stays()

    @property
    def reached(self) -> int:
        """The offset up to which there is nothing to do."""
        return self.stays.own(max(self.last, self.begin))[0]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Checkpoint)


def load(catalog: TableEnv, link_id: str) -> Checkpoint | None:
    """What is stored of the link, whatever its generation and stream; None if it was never seen."""
    data = catalog.get(TABLE, link_id.encode())
    return None if data is None else _decoder.decode(data)


def load_all(catalog: TableEnv) -> list[tuple[str, Checkpoint]]:
    """Every link that has a checkpoint, those that are no more included."""
    return [(key.decode(), _decoder.decode(data)) for key, data in catalog.scan(TABLE)]


def goes_on(stored: Checkpoint, generation: int, stream_id: str, *, begins_anew: bool) -> bool:
    """Whether a link goes on at what is stored: then its `begin` is decided. `begins_anew`: not if it was
    deleted.
    """
    deleted = stored.removed_ms is not None and begins_anew
    return stored.generation == generation and stored.stream in ("", stream_id) and not deleted


def new(stored: Checkpoint | None, generation: int, stream_id: str, begin: int) -> Checkpoint:
    """Of a link never seen, or made again: the progress row of the one before is not its own."""
    key_generation = generation if stored is None else max(generation, stored.key_generation + 1)
    return Checkpoint(generation, key_generation, begin=begin, stream=stream_id)


def forgotten(stored: Checkpoint) -> Checkpoint:
    """What is kept of a link for ever, so that a new one under its id is not taken for it."""
    return Checkpoint(_NO_GENERATION, stored.key_generation)


def put(link_id: str, checkpoint: Checkpoint) -> Put:
    """The write that stores it, to be joined with what must move with it."""
    return Put(TABLE, link_id.encode(), _encoder.encode(checkpoint))
