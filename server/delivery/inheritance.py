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


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Where to go on, and of how many batches of parked events the destination knows. `landed`: the outcome
    of the checkpoint's batch in doubt, to be applied first. `words` for the log; a `warning` if something may
    come twice.
    """

    after: int
    release: int
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
    if outcome is not None and doubt and (row.batch_id, row.last_offset) == (doubt.batch_id, doubt.last):
        return Inheritance(doubt.last, outcome.release, f"{told}; going on there", landed=outcome)
    release = outcome.release if outcome is not None else known.release
    if row.last_offset < known.last or release < known.release:
        after = min(row.last_offset, known.last)
        words = f"{told}, less than the backup knows of: what the destination lost is delivered again"
        return Inheritance(after, release, words, warning=True)
    if outcome is not None and (outcome.left_out, release) != (known.left_out, known.release):
        words = (
            f"{told} and refused, parked or dropped events after the backup, which only it could name: "
            f"everything after offset {known.last} is delivered again; rows with a merge key are replaced, "
            "others are there twice"
        )
        return Inheritance(known.last, known.release, words, warning=True)
    after = max(known.last, min(row.last_offset, head))
    return Inheritance(after, known.release, f"{told}; going on after offset {after}")
