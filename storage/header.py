"""The header record of a segment: the first thing written to it, and what makes it belong to a store.

JSON under a key that sorts before every stream: store id, segment number, stream heads at its creation,
format version.
"""

import json
from dataclasses import dataclass
from typing import Final

from .environment import Environment
from .errors import StoreDamaged, StoreTooNew

HEADER_KEY: Final = b"\0header"
SEGMENT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """`heads` are the last offsets of every stream before this segment."""

    store_id: str
    number: int
    heads: dict[str, int]

    def encode(self) -> bytes:
        """The record's value."""
        fields = {
            "version": SEGMENT_VERSION,
            "store_id": self.store_id,
            "number": self.number,
            "heads": self.heads,
        }
        return json.dumps(fields).encode()


def read_header(environment: Environment) -> SegmentHeader:
    """Raises StoreDamaged without a readable header, StoreTooNew for one of a newer release."""
    raw = environment.get(HEADER_KEY)
    attempted = f"read the header of {environment.path.name}"
    try:
        fields = json.loads(raw or b"")
        version = fields["version"]
        header = SegmentHeader(fields["store_id"], fields["number"], fields["heads"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(attempted, "it is not what was written") from error
    if version > SEGMENT_VERSION:
        raise StoreTooNew(attempted, f"it has version {version}; this release reads up to {SEGMENT_VERSION}")
    return header
