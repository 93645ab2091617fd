"""Who a store is: `store.json` with its random id, its former ids, and the version of the format."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from .disk import attempting, write_durably
from .errors import StoreDamaged, StoreTooNew

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """`former_ids` are what the store was called before it was restored: its older segments still say so."""

    store_id: str
    former_ids: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Durable on return."""
        fields = {"format": FORMAT_VERSION, "store_id": self.store_id, "former_ids": self.former_ids}
        with attempting(f"write {path.name}"):
            write_durably(path, json.dumps(fields, indent=1).encode() + b"\n")

    def renewed(self) -> "Identity":
        """The identity under a new id."""
        return Identity(uuid4().hex, (self.store_id, *self.former_ids))


def load_identity(path: Path) -> Identity:
    """Read the identity, or make one where there is none. Raises StoreTooNew, StoreDamaged."""
    attempted = f"read {path}"
    try:
        fields = json.loads(path.read_bytes())
        version = int(fields["format"])
        identity = Identity(str(fields["store_id"]), tuple(map(str, fields["former_ids"])))
    except FileNotFoundError:
        identity = Identity(uuid4().hex)
        identity.save(path)
        return identity
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(attempted, "it is not a store's identity; restore it from a backup") from error
    if version > FORMAT_VERSION:
        raise StoreTooNew(attempted, f"format {version} is newer than {FORMAT_VERSION}; run a newer release")
    return identity
