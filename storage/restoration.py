"""A backup becomes a store again: verified file by file on the way, under a new identity.

Destinations key their progress by the store id. Under its old one a restored store would take what it
receives from now on for delivered; so it gets a new one, and keeps the old one with the last offsets that the
two have in common (Former): that is how delivery finds out what arrived before.

While it runs, and after it was cut off, the marker `restoring` lies in the target: Store.open refuses it, and
the next restore begins anew. Thread: any that may block for long.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .backup import FILES
from .disk import Space, attempting, make_folder, remove_durably, sync, write_durably
from .errors import StoreDamaged, StoreFailed
from .lock import DirectoryLock
from .manifest import BackedUp, Manifest, load_manifest
from .transfer import Transfer

RESTORING: Final = "restoring"
_IDENTITY: Final = "store.json"
_LOCK: Final = "lock"
_FOLDERS: Final = ("catalog", "scratch", "wal")
_RESERVE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore made: the backup, and the new id of the store."""

    manifest: Manifest
    store_id: str


def restore(backup: Path, target: Path, transfer: Transfer, beside: Collection[str] = ()) -> Restored:
    """Make the store of a backup in the folder `target`, which is new or has nothing but what `beside` names.

    Durable on return. Raises StoreTooNew, StoreDamaged (with the name of every file that is not what was
    written), StoreFull, StoreLocked, StoreFailed; the target is as it was then.
    """
    manifest = load_manifest(backup)
    attempted = f"restore to {target}"
    with attempting(attempted):
        made = not target.exists()
        _require_room(attempted, target, beside)
        make_folder(target)
    lock = DirectoryLock(target / _LOCK)
    try:
        with attempting(attempted):
            _require_room(attempted, target, beside)
            write_durably(target / RESTORING, b"")
            _remove_parts(target)
        try:
            identity = manifest.identity.renewed(manifest.heads)
            _copy(manifest, backup / FILES, target, transfer)
            identity.save(target / _IDENTITY)
        except BaseException:
            _remove_parts(target)
            (target / _LOCK).unlink()
            remove_durably(target / RESTORING)
            if made:
                target.rmdir()
            raise
        with attempting(attempted):
            remove_durably(target / RESTORING)
        return Restored(manifest, identity.store_id)
    finally:
        lock.release()


def _require_room(attempted: str, target: Path, beside: Collection[str]) -> None:
    """Refuse a folder with anything that a restore would mix with."""
    if not target.exists():
        return
    if not target.is_dir():
        raise StoreFailed(attempted, "it is not a folder")
    ours = {*beside, _LOCK}
    if (target / RESTORING).exists():
        ours |= {RESTORING, _IDENTITY, *_FOLDERS}
    if others := sorted(path.name for path in target.iterdir() if path.name not in ours):
        raise StoreFailed(attempted, f"it is not empty ({', '.join(others[:5])}); choose a new folder")


def _remove_parts(target: Path) -> None:
    (target / _IDENTITY).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(target / name, ignore_errors=True)


def _copy(manifest: Manifest, files: Path, target: Path, transfer: Transfer) -> None:
    attempted = f"restore to {target}"
    space = Space(target, _RESERVE_BYTES, attempted)
    space.demand(manifest.size_bytes)
    transfer.total_bytes = manifest.size_bytes
    for name in _FOLDERS:
        with attempting(attempted):
            make_folder(target / name)
    faults = [fault for file in manifest.files if (fault := _restored(file, files, target, transfer, space))]
    if faults:
        raise StoreDamaged(
            f"restore {files.parent}", f"{'; '.join(faults)}; nothing was restored, take another backup"
        )
    with attempting(attempted):
        for name in _FOLDERS:
            sync(target / name)


def _restored(file: BackedUp, files: Path, target: Path, transfer: Transfer, space: Space) -> str | None:
    """Copy one file; what is wrong with it."""
    transfer.doing = f"copying {file.name}"
    if not (files / file.name).exists():
        return f"{file.name} is missing"
    found = transfer.copy(files / file.name, target / file.name, space)
    if found.size_bytes != file.size_bytes:
        return f"{file.name} has {found.size_bytes} bytes instead of {file.size_bytes}"
    return None if found == file.digest else f"{file.name} is damaged: its checksum differs"
