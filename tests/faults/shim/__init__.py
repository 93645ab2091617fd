"""A shim between a process and the kernel: records what it does to files, and makes syncs and writes fail on
demand.

Build it with `build_shim`, start a process with `shim_environment` in its environment. Then:
- every write, fsync, truncation, creation, rename and unlink below `root` is in the log, in order
(`read_log`); - while the file `fail_sync` exists, fsync, fdatasync and synchronous writes fail with EIO; -
while the file `full` exists, writes and creations fail with ENOSPC. A trigger file's text limits it to paths
that contain that text; an empty one hits every path below `root`. What a memory map changes is not seen (LMDB
writes its data with pwrite; only its lock files are mapped for writing).
"""

import subprocess
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct

_RECORD = Struct("<IIIIQQ")
_FLAG_SYNCED = 1


class Op(IntEnum):
    """What was done, as in shim.c."""

    WRITE = 1
    SYNC = 2
    TRUNCATE = 3
    RENAME = 4
    UNLINK = 5
    CREATE = 6
    MKDIR = 7


@dataclass(frozen=True, slots=True)
class Operation:
    """One change. `offset` is the length for TRUNCATE; `data` the new name for RENAME; `synced` a write that
    was durable by itself.
    """

    op: Op
    path: str
    offset: int
    data: bytes
    synced: bool


def build_shim(folder: Path) -> Path:
    """Compile the shim into `folder`; needs a C compiler named cc."""
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def shim_environment(
    library: Path,
    root: Path,
    log: Path | None = None,
    fail_sync: Path | None = None,
    full: Path | None = None,
) -> dict[str, str]:
    """Variables for a process to start. `root` must be absolute; the log must not be below it."""
    given = {
        "LD_PRELOAD": library,
        "PENSTOCK_SHIM_ROOT": root,
        "PENSTOCK_SHIM_LOG": log,
        "PENSTOCK_SHIM_FAIL_SYNC": fail_sync,
        "PENSTOCK_SHIM_FULL": full,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def read_log(log: Path) -> list[Operation]:
    """The recorded operations in order."""
    raw = log.read_bytes()
    operations = []
    at = 0
    while at < len(raw):
        op, flags, path_bytes, _, offset, data_bytes = _RECORD.unpack_from(raw, at)
        at += _RECORD.size
        path = raw[at : at + path_bytes].decode()
        at += path_bytes
        operations.append(
            Operation(Op(op), path, offset, raw[at : at + data_bytes], bool(flags & _FLAG_SYNCED))
        )
        at += data_bytes
    return operations
