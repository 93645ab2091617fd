"""What a backup says of itself: `manifest.json`, written last, so a backup without it is none.

Invariants: it names every file with size and checksum, and carries a checksum of its own; `heads` are the
last offsets of every stream in it, to the event. Pure but for `load`.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from xxhash import xxh3_128_hexdigest

from .disk import attempting, write_durably
from .errors import StoreDamaged, StoreTooNew
from .identity import FORMAT_VERSION, Identity
from .transfer import Digest

NAME: Final = "manifest.json"
MANIFEST_VERSION: Final = 1
_FILE: Final = re.compile(r"wal/\d{10}\.(lmdb|ids)|(catalog|scratch)/data\.mdb")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One file of a backup. `name` is its path in the store; `how` it came into the backup."""

    name: str
    size_bytes: int
    checksum: str
    how: Literal["linked", "copied"]

    @property
    def digest(self) -> Digest:
        """What the file must hold."""
        return Digest(self.size_bytes, self.checksum)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup. Times are wall milliseconds: all that was durable at `began_ms` is in it, nothing that was
    appended after `ended_ms`. `missing` are numbers of segments that the store did not have any more.
    """

    identity: Identity
    began_ms: int
    ended_ms: int
    heads: dict[str, int]
    files: tuple[BackedUp, ...]
    missing: tuple[int, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    def save(self, folder: Path) -> None:
        """Write it, durable on return. Raises StorageError."""
        said = {
            "manifest": MANIFEST_VERSION,
            "store_format": FORMAT_VERSION,
            "identity": self.identity.fields(),
            "began_ms": self.began_ms,
            "ended_ms": self.ended_ms,
            "heads": self.heads,
            "missing": self.missing,
            "files": [asdict(file) for file in self.files],
        }
        with attempting(f"write {NAME}"):
            text = json.dumps({**said, "checksum": _checksum(said)}, indent=1)
            write_durably(folder / NAME, text.encode() + b"\n")


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a backup. Raises StoreDamaged, StoreTooNew, StoreFailed."""
    attempted = f"read the backup {folder}"
    if not (folder / NAME).exists():
        raise StoreDamaged(attempted, f"it has no {NAME}: it is no backup, or one that was cut off")
    try:
        with attempting(attempted):
            said = json.loads((folder / NAME).read_bytes())
        if int(said["manifest"]) > MANIFEST_VERSION or int(said["store_format"]) > FORMAT_VERSION:
            raise StoreTooNew(attempted, "a newer release made it; restore it with that or a newer one")
        if said.pop("checksum") != _checksum(said):
            raise StoreDamaged(attempted, f"{NAME} is not what was written; take another backup")
        return _manifest(said)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreDamaged(attempted, f"{NAME} is no manifest of a backup; take another backup") from error


def _manifest(said: dict[str, Any]) -> Manifest:
    files = tuple(BackedUp(**file) for file in said["files"])
    if not all(_FILE.fullmatch(file.name) for file in files):
        raise ValueError("a file that no backup has")
    return Manifest(
        Identity.of(said["identity"]),
        said["began_ms"],
        said["ended_ms"],
        said["heads"],
        files,
        tuple(said["missing"]),
    )


def _checksum(said: dict[str, Any]) -> str:
    return xxh3_128_hexdigest(json.dumps(said, sort_keys=True).encode())
