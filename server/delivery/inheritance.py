"""What a restored store takes from the progress of the store that its backup was taken of. Pure.

The backup's checkpoint may be older than what the former store went on to deliver; its progress row at the
destination says how far that was. Up to the heads of the backup an offset names the same event in both
stores, so up to there "delivered" holds here too, and no further. But the row knows the last batch only: what
batches between the checkpoint and that one refused, parked or dropped, the former store knew alone. So the
row's count of such events (`left_out`) must be the checkpoint's, or everything behind the checkpoint is
delivered again: rather twice than not at all.
"""

from dataclasses import dataclass

from server.warehouse import Inherited

from . import outcome as outcomes
from .checkpoint import Checkpoint
from .outcome import Outcome
from .stays import Stays


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Where to go on, at which place, and of how many batches of parked events the destination knows.
    `landed`: the outcome of the checkpoint's batch in doubt, to be applied. `words` for the log; a `warning`
    if something may come twice.
    """

    after: int
    release: int
    stays: Stays
    words: str
    warning: bool = False
    landed: Outcome | None = None


def inheritance(row: Inherited, known: Checkpoint, head: int) -> Inheritance:
    """`head`: the last offset of the stream in the backup, which bounds what the row can tell."""
    outcome = outcomes.decode(row.outcome) if row.outcome else None
    told = (
        f"restored from a backup of store {row.store_id}, which had delivered up to offset {row.last_offset}"
    )
    doubt = known.in_doubt
    stays = known.stays.arrived(row.place, row.row_place, known.last, known.release)
    moved = known.stays.place not in ("", row.row_place)
    last = max(known.last, known.stays.frontier) if moved else known.last
    if outcome is not None and doubt and (row.batch_id, row.last_offset) == (doubt.batch_id, doubt.last):
        return Inheritance(doubt.last, outcome.release, stays, f"{told}; going on there", landed=outcome)
    release = outcome.release if outcome is not None else known.release
    if moved and row.last_offset <= last and row.row_place in known.stays.places:
        words = f"{told} here, and then moved on; what came behind it was delivered elsewhere"
        return Inheritance(row.last_offset, release, stays, words, warning=stays.lacks(row.last_offset))
    if row.last_offset < last or release < known.release:
        after = min(row.last_offset, last)
        stays = Stays(row.place) if moved else stays
        words = f"{told}, less than the backup knows of: what the destination lost is delivered again"
        return Inheritance(after, release, stays, words, warning=True)
    if outcome is not None and (outcome.left_out, release) != (known.left_out, known.release):
        words = (
            f"{told} and refused, parked or dropped events after the backup, which only it could name: "
            f"everything after offset {last} is delivered again; rows with a merge key are replaced, "
            "others are there twice"
        )
        return Inheritance(last, known.release, stays, words, warning=True)
    after = max(last, min(row.last_offset, head))
    return Inheritance(after, known.release, stays, f"{told}; going on after offset {after}")
