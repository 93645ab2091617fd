"""Verifies a segment in a process of its own: a file that kills its memory map kills only that.

A truncated or garbled LMDB file can end in SIGBUS or SIGSEGV, and the files left by an abnormal death are the
suspects. The child walks every value, checks every checksum and writes the sidecar anew (without the ids of
damaged events). It imports as little as it can (-I -S, no package __init__): about 40 ms of start-up.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

from .environment import Environment, library_folder
from .errors import StorageError, StoreDamaged, StoreFailed
from .header import HEADER_KEY, read_header
from .record import Block, Damaged, Value, split_key
from .sidecar import SegmentIndex

VERIFY_TIMEOUT_S: Final = 120
_STUB: Final = """
import sys, types
package = types.ModuleType(sys.argv[1]); package.__path__ = [sys.argv[2]]; sys.modules[sys.argv[1]] = package
sys.path[:0] = sys.argv[3].split("\\n")
from importlib import import_module
sys.exit(import_module(sys.argv[1] + ".verify").main(sys.argv[4:]))
"""


def verify_segment(segment: Path, sidecar: Path, number: int, store_ids: frozenset[str]) -> str | None:
    """Why the segment must not be used; None if it is sound (then `sidecar` is fresh). Blocking.

    Single damaged blocks do not condemn a segment: reading it steps over them. Raises StoreFailed if no child
    could run.
    """
    arguments = [str(segment), str(sidecar), str(number), ",".join(sorted(store_ids))]
    try:
        done = subprocess.run(
            _command(arguments),
            capture_output=True,
            text=True,
            timeout=VERIFY_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"verifying it took more than {VERIFY_TIMEOUT_S} s"
    except OSError as error:
        raise StoreFailed(f"verify {segment.name} in a child process", str(error)) from error
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"reading it ended in signal {-done.returncode}"
    return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit status {done.returncode}"


def _command(arguments: list[str]) -> list[str]:
    import xxhash

    package = __package__ or ""
    folders = "\n".join(dict.fromkeys((library_folder(), str(Path(xxhash.__file__).parent.parent))))
    here = str(Path(__file__).parent)
    return [sys.executable, "-I", "-S", "-c", _STUB, package, here, folders, *arguments]


def main(arguments: list[str]) -> int:
    """The child: verify, write the sidecar; the last line of stderr says what is wrong."""
    segment, sidecar, number, store_ids = arguments
    try:
        index = build_index(Path(segment), int(number), frozenset(store_ids.split(",")))
        index.save(Path(sidecar))
    except (StorageError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_index(path: Path, number: int, store_ids: frozenset[str]) -> SegmentIndex:
    """What the segment holds, found by reading all of it. StorageError: it is none of this store."""
    environment = Environment(path, writable=False, shared=False)
    try:
        header = read_header(environment)
        if header.number != number or header.store_id not in store_ids:
            raise StoreDamaged(
                f"verify {path.name}", f"it is segment {header.number} of store {header.store_id}"
            )
        index = SegmentIndex(header.store_id, number, header.heads)
        for key, view in environment.walk():
            if key != HEADER_KEY:
                _index_value(index, key, view)
        return index
    finally:
        environment.close()


def _index_value(index: SegmentIndex, key: bytes, view: memoryview) -> None:
    stream, first = split_key(key)
    try:
        value = Value(view, stream, first)
    except Damaged:
        index.cover(stream, first, first, index.last_ms)
        return
    index.cover(stream, first, value.last, value.committed_ms)
    try:
        ids = value.ids()
    except Damaged:
        return
    for block in value.blocks:
        if _sound(value, block):
            index.add_ids(stream, block.first, ids[block.first - first : block.last - first + 1])


def _sound(value: Value, block: Block) -> bool:
    try:
        value.check(block)
    except Damaged:
        return False
    return True
