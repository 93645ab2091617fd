"""Who a store is: `store.json` with its random id, its former ones, and the version of the format."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from .disk import attempting, write_durably
from .errors import StoreDamaged, StoreTooNew

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Former:
    """A store that a backup was taken of. Up to `heads`, the last offset of every stream in that backup, an
    offset names the same event in it and in what was restored.
    """

    store_id: str
    heads: dict[str, int]


@dataclass(frozen=True, slots=True)
class Identity:
    """`former`, the newest first: what the store was before it was restored. Its older segments say so."""

    store_id: str
    former: tuple[Former, ...] = ()

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "Identity":
        """From what `fields` gave. Raises ValueError, KeyError, TypeError, AttributeError."""
        former = [
            Former(str(one["store_id"]), {str(name): int(head) for name, head in one["heads"].items()})
            for one in fields.get("former", ())
        ]
        return cls(str(fields["store_id"]), tuple(former))

    def fields(self) -> dict[str, object]:
        """As JSON has it."""
        former = [{"store_id": one.store_id, "heads": one.heads} for one in self.former]
        return {"store_id": self.store_id, "former": former}

    def save(self, path: Path) -> None:
        """Durable on return."""
        said = {"format": FORMAT_VERSION, **self.fields()}
        with attempting(f"write {path.name}"):
            write_durably(path, json.dumps(said, indent=1).encode() + b"\n")

    @property
    def ids(self) -> tuple[str, ...]:
        """The present id, then the former ones."""
        return (self.store_id, *(one.store_id for one in self.former))

    def renewed(self, heads: dict[str, int]) -> "Identity":
        """The identity under a new id; `heads` are the last offsets that it has in common with this one."""
        return Identity(uuid4().hex, (Former(self.store_id, heads), *self.former))


def load_identity(path: Path) -> Identity:
    """Read the identity, or make one where there is none. Raises StoreTooNew, StoreDamaged."""
    attempted = f"read {path}"
    try:
        fields = json.loads(path.read_bytes())
        version = int(fields["format"])
        identity = Identity.of(fields)
    except FileNotFoundError:
        identity = Identity(uuid4().hex)
        identity.save(path)
        return identity
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreDamaged(attempted, "it is not a store's identity; restore it from a backup") from error
    if version > FORMAT_VERSION:
        raise StoreTooNew(attempted, f"format {version} is newer than {FORMAT_VERSION}; run a newer release")
    return identity
