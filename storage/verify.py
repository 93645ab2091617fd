"""Verifies a segment in a process of its own: a file that kills its memory map kills only that.

A truncated or garbled LMDB file can end in SIGBUS or SIGSEGV, and the files left by an abnormal death are the
suspects. The child walks every value, checks every checksum and sends what it found (without the ids of
damaged events) through its stdout; it writes nothing. It imports as little as it can (-I -S, no package
__init__): about 40 ms of start-up. Invariant: a segment is condemned by the child's own verdict, or by a
fault of the memory map while it was read, and by nothing else: not by a kill, a lack of memory or of space.
"""

import subprocess
import sys
from pathlib import Path
from signal import SIGABRT, SIGBUS, SIGFPE, SIGSEGV
from struct import error as struct_error
from typing import Final

from .disk import attempting
from .environment import Environment, is_garbled, library_folder
from .errors import StorageError, StoreDamaged, StoreFailed
from .header import HEADER_KEY, read_header
from .record import Block, Damaged, Value, split_key
from .sidecar import SegmentIndex, decode

VERIFY_TIMEOUT_S: Final = 120
_DAMAGED_STATUS: Final = 65
"""EX_DATAERR. The interpreter itself ends in 1 or 2, a shell in 126 or 127."""
_READING: Final = b"reading the segment"
"""On stderr once the file is about to be opened: a fault before it (a broken library) is not the file's."""
_FAULTS: Final = (SIGSEGV, SIGBUS, SIGABRT, SIGFPE)
"""What a garbled file raises in LMDB: outside the map, beyond the end, an assertion, a page size of 0."""
_STUB: Final = """
import sys, types
package = types.ModuleType(sys.argv[1]); package.__path__ = [sys.argv[2]]; sys.modules[sys.argv[1]] = package
sys.path[:0] = sys.argv[3].split("\\n")
from importlib import import_module
sys.exit(import_module(sys.argv[1] + ".verify").main(sys.argv[4:]))
"""


def verify_segment(segment: Path, number: int, store_ids: frozenset[str]) -> SegmentIndex:
    """What the segment holds. Blocking; writes nothing.

    Raises StoreDamaged if it must not be used, and nothing else says so: StoreFailed and StoreFull mean that
    nobody knows, ask again. Single damaged blocks do not condemn a segment: reading it steps over them.
    """
    attempted = f"verify {segment.name} in a child process"
    try:
        with attempting(attempted):
            done = subprocess.run(
                _command([str(segment), str(number), ",".join(sorted(store_ids))]),
                capture_output=True,
                timeout=VERIFY_TIMEOUT_S,
                check=False,
                stdin=subprocess.DEVNULL,
                # A signal to our process group (Ctrl-C) is not meant for the child.
                start_new_session=True,
            )
    except subprocess.TimeoutExpired as error:
        raise StoreFailed(
            attempted, f"it took more than {VERIFY_TIMEOUT_S} s; see what the disk does"
        ) from error
    index = decode(done.stdout) if done.returncode == 0 else None
    if index is not None:
        return index
    words = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == _DAMAGED_STATUS:
        raise StoreDamaged(attempted, words[-1])
    if -done.returncode in _FAULTS and _READING in done.stderr.splitlines():
        raise StoreDamaged(attempted, f"reading it ended in signal {-done.returncode}")
    raise StoreFailed(attempted, _no_verdict(done.returncode, words))


def _no_verdict(status: int, words: list[str]) -> str:
    ended = f"signal {-status}" if status < 0 else f"exit status {status}"
    said = f" ({words[-1]})" if words else ""
    return f"it ended in {ended}{said} and says nothing about the file, which stays; try again"


def _command(arguments: list[str]) -> list[str]:
    import xxhash

    package = __package__ or ""
    folders = "\n".join(dict.fromkeys((library_folder(), str(Path(xxhash.__file__).parent.parent))))
    here = str(Path(__file__).parent)
    return [sys.executable, "-I", "-S", "-c", _STUB, package, here, folders, *arguments]


def main(arguments: list[str]) -> int:
    """The child: index to stdout and 0, or why the segment is damaged as the last line of stderr and 65."""
    segment, number, store_ids = arguments
    sys.stderr.buffer.write(_READING + b"\n")
    sys.stderr.buffer.flush()
    try:
        index = build_index(Path(segment), int(number), frozenset(store_ids.split(",")))
    except (StoreDamaged, ValueError, struct_error) as error:
        print(error, file=sys.stderr)
        return _DAMAGED_STATUS
    except (StorageError, OSError) as error:
        print(error, file=sys.stderr)
        return _DAMAGED_STATUS if is_garbled(Path(segment)) else 1
    sys.stdout.buffer.write(index.encode())
    sys.stdout.buffer.flush()
    return 0


def build_index(path: Path, number: int, store_ids: frozenset[str]) -> SegmentIndex:
    """What the segment holds, found by reading all of it. StoreDamaged: unreadable, or of another store."""
    if path.stat().st_size == 0:
        # LMDB calls it a missing file.
        raise StoreDamaged(f"verify {path.name}", "it is empty")
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
