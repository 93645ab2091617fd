"""A disk with a volatile cache: replays recorded operations and says what may be there after the power
failed.

Durable for sure: a file's bytes up to its last sync, synchronous writes, and the names in a directory at its
last sync. Everything since may be gone, torn at sector boundaries, or there out of order; newer names may be
there or not.
"""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.shim import Op, Operation

_SECTORS = (512, 4096)


@dataclass(eq=False)
class _Inode:
    """`unsynced` are writes since the last sync. A folder has `names` now and `durable_names` at its last
    sync.
    """

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)
    names: dict[str, "_Inode"] | None = None
    durable_names: dict[str, "_Inode"] = field(default_factory=dict)


class DiskModel:
    """`root` is the folder that the operations are below of; it is there and durable."""

    def __init__(self, root: Path) -> None:
        self._root_path = root
        self._root = _Inode(names={})

    def apply(self, operation: Operation) -> None:
        """Replay one operation."""
        path = Path(operation.path)
        if operation.op is Op.MKDIR or operation.op is Op.CREATE:
            self._names(path.parent)[path.name] = _Inode(names={} if operation.op is Op.MKDIR else None)
        elif operation.op is Op.UNLINK:
            del self._names(path.parent)[path.name]
        elif operation.op is Op.RENAME:
            to = Path(operation.data.decode())
            self._names(to.parent)[to.name] = self._names(path.parent).pop(path.name)
        elif operation.op is Op.SYNC:
            self._sync(self._inode(path))
        elif operation.op is Op.TRUNCATE:
            inode = self._inode(path)
            inode.unsynced.clear()
            del inode.durable[operation.offset :]
        elif operation.synced:
            _overwrite(self._inode(path).durable, operation.offset, operation.data)
        else:
            self._inode(path).unsynced.append((operation.offset, operation.data))

    def write_image(self, folder: Path, random: Random) -> None:
        """Make `folder` what may be found after a power failure now; `random` decides what of the rest is
        there.
        """
        newest_names = random.random() < 0.5
        fate = random.choice(["gone", "torn", "reordered", "all"])
        self._write(self._root, folder, newest_names, fate, random)

    def _write(self, inode: _Inode, path: Path, newest_names: bool, fate: str, random: Random) -> None:
        if inode.names is None:
            path.write_bytes(_survivors(inode, fate, random))
            return
        path.mkdir(exist_ok=True)
        for name, child in (inode.names if newest_names else inode.durable_names).items():
            self._write(child, path / name, newest_names, fate, random)

    def _sync(self, inode: _Inode) -> None:
        if inode.names is not None:
            inode.durable_names = dict(inode.names)
        for offset, data in inode.unsynced:
            _overwrite(inode.durable, offset, data)
        inode.unsynced.clear()

    def _inode(self, path: Path) -> _Inode:
        inode = self._root
        for name in path.relative_to(self._root_path).parts:
            assert inode.names is not None
            inode = inode.names[name]
        return inode

    def _names(self, folder: Path) -> dict[str, _Inode]:
        names = self._inode(folder).names
        assert names is not None
        return names


def _survivors(inode: _Inode, fate: str, random: Random) -> bytes:
    content = bytearray(inode.durable)
    unsynced = list(inode.unsynced)
    if fate == "gone":
        unsynced = []
    elif fate == "reordered":
        unsynced = random.sample(unsynced, random.randint(0, len(unsynced)))
    for offset, data in unsynced:
        if fate == "torn":
            sector = random.choice(_SECTORS)
            data = data[: random.randint(0, len(data) // sector) * sector]
        _overwrite(content, offset, data)
    return bytes(content)


def _overwrite(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
