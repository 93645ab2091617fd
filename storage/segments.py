"""The directory of segments: it is the registry, so every change of it is a durable rename or unlink.

A segment is created under a temporary name, gets its header, is synced, renamed, the directory synced; only
then is it written to. Every open of the store starts a new one, so a tail of doubtful age is never appended
to. Numbers are without gaps; a gap is reported in `missing`, with its reason, and readers meet it as a hole.
What lies in quarantine/ is reported there too, for as long as it lies there, and logged. Only StoreDamaged
condemns a segment (verify.py): whatever else fails leaves it where it is.
Threads: the opening thread, then: the writer rotates, any thread reads through `reading`, one at a time
drops. Nothing is closed or unlinked while it has users.
"""

import logging
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .blank import Blank
from .clock import Clock
from .disk import Space, attempting, make_folder, shorten, sync
from .environment import Environment, create_environment
from .errors import StorageError, StoreClosed, StoreDamaged, StoreFailed
from .header import HEADER_KEY, SegmentHeader
from .segment import Segment
from .sidecar import SegmentIndex, load
from .verify import verify_segment

_log: Final = logging.getLogger("penstock.storage")
_NEW_BYTES: Final = 64 * 1024
"""Free disk for the first pages of a segment."""
_FILE_MISSING: Final = "the file is missing"
_READERS_WAIT_S: Final = 5.0
_READERS_KEPT: Final = 2
"""Environments of sealed segments kept mapped when nobody reads them: each is resident memory."""


class SegmentGone(Exception):  # noqa: N818 - it is what happened
    """The segment was quarantined or unlinked since it was chosen, by whomever; what it held is a hole."""


class Segments:
    """`active` is the segment being written, `index` its contents; `listed` has all of `folder`, by age."""

    def __init__(
        self,
        store: Path,
        store_ids: tuple[str, ...],
        segment_bytes: int,
        free_bytes_min: int,
        clock: Clock,
    ) -> None:
        """`store_ids` are the present id and the former ones of a restored store."""
        self.folder = store / "wal"
        self._quarantine = store / "quarantine"
        self._store_ids = store_ids
        self._segment_bytes = segment_bytes
        self._clock = clock
        self.blank = Blank(self.folder, segment_bytes, free_bytes_min)
        self._lock = threading.Condition()
        self._closed = False
        self._idle: list[Segment] = []
        self._kept_from: int | None = None
        self.listed: tuple[Segment, ...] = ()
        self.missing: dict[int, str] = {}
        self.on_lost: Callable[[array[int]], None] = lambda _ids: None
        """Called with the ids of a segment that is quarantined while the store is open."""
        self.active: Segment
        self.index: SegmentIndex

    def open(self, *, unclean: bool) -> list[SegmentIndex]:
        """Take stock; the indexes of the segments found, oldest first. `begin` must follow.

        Raises StoreFailed or StoreFull if nobody can say now whether a segment is sound; nothing is moved
        then.
        """
        with attempting(f"make {self.folder}"):
            make_folder(self.folder)
            make_folder(self._quarantine)
        for orphan in self._orphans():
            orphan.unlink()
        numbers = sorted(int(path.stem) for path in self.folder.glob("*.lmdb"))
        indexes = [index for number in numbers if (index := self._adopt(number, unclean=unclean))]
        self._find_missing(numbers)
        return indexes

    def begin(self, floor: int) -> None:
        """Start the segment of this session. `floor` is an offset below which it will issue none."""
        heads: dict[str, int] = {}
        number = max([segment.number for segment in self.listed] + list(self.missing), default=0) + 1
        if self.listed:
            newest = self.listed[-1]
            heads = newest.heads_before | {name: span.last for name, span in newest.spans.items()}
            if newest.number < number - 1:
                # The tail is lost and nobody knows how far it went: no offset below the floor is left to be
                # found.
                heads = dict.fromkeys(heads, floor)
            elif not newest.spans and newest.number > 0:
                number = newest.number
                self.listed = self.listed[:-1]
                self._close(newest)
        self._start(number, heads)

    def rotate(self) -> None:
        """Seal the open segment and start the next. On the writer thread. If it raises, the old one stays."""
        before = self.active
        self._start(before.number + 1, self.index.heads(), sealing=(before, self.index))

    def close(self, *, seal: bool) -> None:
        """Wait for readers, write the last sidecar if `seal`, and close every file."""
        self.blank.close()
        with self._lock:
            self._closed = True
            self.active.users -= 1
            idle = self._lock.wait_for(
                lambda: not any(segment.users for segment in self.listed), _READERS_WAIT_S
            )
        if seal:
            self._seal(self.active, self.index)
        if idle:
            with self._lock:
                for segment in self.listed:
                    self._close(segment)

    @property
    def outdone(self) -> bool:
        """Whether the open segment grows as it is written while one lies ready that does not."""
        return self.blank.ready and self.active.grows

    @property
    def total_bytes(self) -> int:
        """Bytes of all segments, but for what lies unused in the open one."""
        return sum(segment.size_bytes for segment in self.listed)

    def since(self, stream: str, after: int) -> tuple[Segment, ...]:
        """The segments to read, in order, for the stream's offsets behind `after`."""
        listed = self.listed
        start = len(listed) - 1
        while start > 0 and listed[start].heads_before.get(stream, 0) > after:
            start -= 1
        return listed[start:]

    @contextmanager
    def reading(self, segment: Segment) -> Iterator[Environment]:
        """The segment's environment, verified, and kept until the end of the block.

        Raises SegmentGone; StoreFailed or StoreFull if it cannot be verified now: ask again.
        """
        if segment.environment is None and _is_lost(segment.path):
            self._give_up(segment)
        if not segment.verified:
            self._verify(segment)
        with self._lock:
            if self._closed:
                raise StoreClosed("read the WAL", "the store is closed")
            if segment.gone:
                raise SegmentGone
            if segment.environment is None:
                segment.environment = Environment(segment.path, writable=False, shared=False)
            segment.users += 1
            environment = segment.environment
        try:
            yield environment
        finally:
            self._release(segment)

    def drop(self, segment: Segment) -> bool:
        """Unlink the oldest segment; False if somebody reads or keeps it."""
        with self._lock:
            if self._kept_from is not None and segment.number >= self._kept_from:
                return False
            if segment.users or segment is not self.listed[0] or segment is self.active:
                return False
            self._forget(segment)
            self._close(segment)
        with attempting(f"unlink {segment.path.name}"):
            segment.path.unlink(missing_ok=True)
            sync(self.folder)
            segment.sidecar.unlink(missing_ok=True)
        return True

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Until the end of the block nothing is unlinked that `let_go` did not name. One at a time: raises
        StoreFailed.
        """
        with self._lock:
            if self._kept_from is not None:
                raise StoreFailed("back up the store", "another backup is under way; wait for its end")
            self._kept_from = 0
        try:
            yield
        finally:
            with self._lock:
                self._kept_from = None

    def let_go(self, segment: Segment) -> None:
        """Whoever keeps segments needs this one, and those before it, no more."""
        with self._lock:
            self._kept_from = segment.number + 1

    def index_of(self, segment: Segment) -> SegmentIndex | None:
        """The index of any segment; None if the segment is gone or damaged. A sidecar that is not there is
        made again: that reads the segment. Raises as `reading`.
        """
        if segment is self.active:
            return self.index
        index = load(segment.sidecar)
        if index is None:
            with suppress(SegmentGone, StoreDamaged), self.reading(segment), segment.verifying:
                index = load(segment.sidecar)
                if index is None and segment.sealed:
                    index = self._examine(segment)
        return index

    def _orphans(self) -> Iterator[Path]:
        for path in self.folder.iterdir():
            if path.name.endswith((".tmp", "-lock")) or (
                path.suffix == ".ids" and not path.with_suffix(".lmdb").exists()
            ):
                yield path

    def _adopt(self, number: int, *, unclean: bool) -> SegmentIndex | None:
        """List a segment found on disk. Its index comes from its sidecar, or from reading it in a child."""
        path = self._path(number)
        segment = Segment(path, number, {}, sealed_at_s=self._clock.monotonic_s())
        index = load(segment.sidecar)
        if index is None or index.number != number or index.store_id not in self._store_ids:
            if unclean:
                # Its newest meta page may live in the page cache only: durable before anything is read from
                # it.
                with attempting(f"sync {path.name}"):
                    sync(path)
            try:
                index = verify_segment(path, number, frozenset(self._store_ids))
            except StoreDamaged as damage:
                self._condemn(segment, damage.hint)
                return None
            with suppress(OSError):
                # It describes something else, or nothing.
                segment.sidecar.unlink(missing_ok=True)
            _save(index, segment)
            segment.verified = True
            with suppress(StorageError), Environment(path, writable=False, shared=False) as environment:
                _cut(path, environment.end_bytes)
        segment.heads_before = index.heads_before
        segment.spans = index.spans
        segment.first_ms, segment.last_ms = index.first_ms, index.last_ms
        segment.size_bytes = path.stat().st_size
        self.listed += (segment,)
        return index

    def _find_missing(self, numbers: list[int]) -> None:
        """Report the gaps, and what was quarantined wherever it belongs: at an end it leaves no gap."""
        missing = dict.fromkeys(
            set(range(min(numbers, default=0), max(numbers, default=0))).difference(numbers),
            _FILE_MISSING,
        )
        for path in self._quarantine.glob("*.lmdb"):
            name = path.name.partition(".")[0]
            if name.isdecimal() and int(name) not in numbers:
                missing[int(name)] = "quarantined earlier"
        for number, reason in sorted(missing.items()):
            if number not in self.missing:
                self.missing[number] = reason
                _log.error("segment %d of the WAL is missing: %s", number, reason)

    def _verify(self, segment: Segment) -> None:
        with segment.verifying:
            if segment.verified or segment.gone:
                return
            try:
                self._examine(segment)
            except StoreDamaged as damage:
                lost = load(segment.sidecar)
                try:
                    self._condemn(segment, damage.hint)
                finally:
                    if lost is not None:
                        self.on_lost(lost.ids())
                return
            segment.verified = True

    def _examine(self, segment: Segment) -> SegmentIndex:
        index = verify_segment(segment.path, segment.number, frozenset(self._store_ids))
        _save(index, segment)
        return index

    def _give_up(self, segment: Segment) -> None:
        """Somebody unlinked the file: report it as the next open would. Not if all of them are gone: then it
        is the disk that is away, and may come back.
        """
        if _is_lost(self.active.path) or not _is_lost(segment.path):
            return
        with self._lock:
            if segment.gone:
                return
            self.missing[segment.number] = _FILE_MISSING
            self._forget(segment)
        _log.error("segment %d of the WAL is missing: %s", segment.number, _FILE_MISSING)
        if (index := load(segment.sidecar)) is not None:
            self.on_lost(index.ids())
        with suppress(OSError):
            segment.sidecar.unlink(missing_ok=True)

    def _condemn(self, segment: Segment, reason: str) -> None:
        """Move a segment that is damaged out of the way, and say so."""
        self.missing[segment.number] = f"quarantined: {reason}"
        with self._lock:
            self._forget(segment)
        place = self._quarantine / segment.path.name
        copies = 0
        while place.exists():
            copies += 1
            place = place.with_name(f"{segment.path.stem}.{copies}.lmdb")
        _log.critical("segment %d of the WAL is damaged: %s; it goes to %s", segment.number, reason, place)
        with attempting(f"quarantine {segment.path.name}"):
            segment.path.replace(place)
            sync(self._quarantine)
            sync(self.folder)
            segment.sidecar.unlink(missing_ok=True)

    def _start(
        self, number: int, heads: dict[str, int], sealing: tuple[Segment, SegmentIndex] | None = None
    ) -> None:
        path = self._path(number)
        header = SegmentHeader(self._store_ids[0], number, heads)
        Space(self.folder, 0).demand(_NEW_BYTES)
        with attempting(f"create {path.name}"):
            # A number is taken again after an empty session: its sidecar must not outlive the file it
            # describes. The same sync of the folder makes both changes durable.
            path.with_suffix(".ids").unlink(missing_ok=True)
            create_environment(path, self._segment_bytes, [(HEADER_KEY, header.encode())], self.blank.take)
            grows = path.stat().st_size < self._segment_bytes
        segment = Segment(path, number, heads, sealed_at_s=self._clock.monotonic_s())
        segment.environment = Environment(path, self._segment_bytes, writable=True, shared=True)
        segment.verified = True
        segment.sealed = False
        segment.grows = grows
        segment.size_bytes = segment.environment.end_bytes
        index = SegmentIndex(self._store_ids[0], number, heads)
        segment.spans = index.spans
        segment.users = 1
        with self._lock:
            self.active, self.index = segment, index
            self.listed += (segment,)
        if sealing is not None:
            self._seal(*sealing)
            self._release(sealing[0])

    def _seal(self, segment: Segment, index: SegmentIndex) -> None:
        assert segment.environment is not None
        _cut(segment.path, segment.environment.end_bytes)
        segment.sealed_at_s = self._clock.monotonic_s()
        with segment.verifying:  # who misses the sidecar makes it only once it was to be there
            segment.sealed = True
            _save(index, segment)

    def _release(self, segment: Segment) -> None:
        with self._lock:
            segment.users -= 1
            if segment.users:
                return
            self._lock.notify_all()
            if segment in self._idle:
                self._idle.remove(segment)
            self._idle.append(segment)
            while len(self._idle) > _READERS_KEPT:
                oldest = self._idle.pop(0)
                if not oldest.users:
                    self._close(oldest)

    def _forget(self, segment: Segment) -> None:
        segment.gone = True
        self.listed = tuple(other for other in self.listed if other is not segment)

    def _close(self, segment: Segment) -> None:
        if segment.environment is not None:
            segment.environment.close()
            segment.environment = None
            segment.lock_file.unlink(missing_ok=True)
        if segment in self._idle:
            self._idle.remove(segment)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:010d}.lmdb"

    def reason_missing(self, since: int, until: int) -> str:
        """Why numbers strictly between these are not listed."""
        for number in range(since + 1, until):
            if number in self.missing:
                return f"segment {number}: {self.missing[number]}"
        return "trimmed"


def _is_lost(path: Path) -> bool:
    """Whether there certainly is no such file; a disk that does not answer says nothing."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _cut(path: Path, end_bytes: int) -> None:
    """Take away what lies unused behind the last page, if that can be; not of a file that a backup shares."""
    try:
        if path.stat().st_nlink == 1:
            shorten(path, end_bytes)
    except OSError as error:
        _log.warning("what %s does not use cannot be given back: %s", path.name, error)


def _save(index: SegmentIndex, segment: Segment) -> None:
    """Write the sidecar if possible: it is derived, and made again at the next start."""
    try:
        index.save(segment.sidecar)
    except OSError as error:
        _log.warning("the sidecar of segment %d cannot be written: %s", segment.number, error)
