"""Which ends of the verifying child condemn a segment, and which leave it where it is."""

import logging
import mmap
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import Store, StoreFailed, StoreOptions
from storage import verify as verify_module
from tests.unit.storage.workbench import (
    SMALL,
    ManualClock,
    crash_copy,
    damage,
    fill,
    holes,
    items,
    opened,
    put,
    segment_files,
)

Child = Callable[[str], None]
READING = "echo 'reading the segment' >&2; "


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """A function that makes every verifying child from now on a shell script."""

    def become(script: str) -> None:
        interpreter = tmp_path / "interpreter"
        interpreter.write_text(f"#!/bin/sh\n{script}\n")
        interpreter.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(interpreter))

    return become


async def _crashed(folder: Path) -> tuple[Path, list[bytes]]:
    """What a crash left, its newest segment without a sidecar; and its events."""
    async with opened(folder / "a", segment_bytes=SMALL) as store:
        ids = await fill(store, 3)
        await put(store, [b"last"], [ids])
        return crash_copy(folder / "a", folder / "b"), items(store)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (READING + "kill -KILL $$", "signal 9"),
        (READING + "kill -INT $$", "signal 2"),
        ("kill -SEGV $$", "signal 11"),
        (READING + "echo 'cannot allocate' >&2; exit 1", "cannot allocate"),
        ("exit 0", "exit status 0"),
        ("exec sleep 60", "more than"),
    ],
)
async def test_a_child_without_a_verdict_stops_the_open_and_moves_nothing(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    path, sent = await _crashed(tmp_path)
    before = segment_files(path)
    with monkeypatch.context() as patched:
        child(script)
        patched.setattr(verify_module, "VERIFY_TIMEOUT_S", 0.3 if "sleep" in script else 60)
        with pytest.raises(StoreFailed, match=words):
            Store.open(path, StoreOptions(), ManualClock())
    monkeypatch.undo()
    assert segment_files(path) == before
    async with opened(path, segment_bytes=SMALL) as store:
        assert (items(store), holes(store), store.wal.stats().missing_segments) == (sent, [], ())


async def test_a_child_that_cannot_start_stops_the_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _sent = await _crashed(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no such program"))
    with pytest.raises(StoreFailed, match="verify"):
        Store.open(path, StoreOptions(), ManualClock())
    assert list((path / "quarantine").iterdir()) == []


async def test_a_read_that_cannot_be_verified_fails_and_may_be_tried_again(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sent = await _crashed(tmp_path)
    async with opened(path, segment_bytes=SMALL):
        pass
    async with opened(path, segment_bytes=SMALL) as store:
        child(READING + "kill -KILL $$")
        for _ in range(2):
            with pytest.raises(StoreFailed, match="signal 9"):
                items(store)
        monkeypatch.undo()
        assert (items(store), holes(store), store.wal.stats().missing_segments) == (sent, [], ())


@pytest.mark.parametrize("signal", ["SEGV", "BUS", "ABRT", "FPE"])
async def test_a_fault_while_reading_condemns(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch, signal: str
) -> None:
    path, sent = await _crashed(tmp_path)
    child(READING + f"kill -{signal} $$")
    async with opened(path, segment_bytes=SMALL) as store:
        monkeypatch.undo()
        (missing,) = store.wal.stats().missing_segments
        assert missing.startswith("3: quarantined: reading it ended in signal")
        found = items(store)
        assert 0 < len(found) < len(sent)
        assert found == sent[: len(found)]


async def test_a_sidecar_that_cannot_be_saved_is_no_reason_to_condemn(tmp_path: Path) -> None:
    path, sent = await _crashed(tmp_path)
    (path / "wal" / "0000000003.ids" / "in the way").mkdir(parents=True)
    async with opened(path, segment_bytes=SMALL) as store:
        assert (items(store), holes(store), store.wal.stats().missing_segments) == (sent, [], ())
        assert (await put(store, [b"last"], [len(sent)])).duplicates == 1, "its ids are known all the same"
    assert not list((path / "wal").glob("*.tmp"))


async def test_the_child_hears_no_interrupt_of_our_group(
    tmp_path: Path, child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _sent = await _crashed(tmp_path)
    child("echo session $$ is $(cut -d ' ' -f 6 /proc/$$/stat) >&2; exit 1")
    with pytest.raises(StoreFailed, match=r"session (\d+) is \1\b"):
        Store.open(path, StoreOptions(), ManualClock())


@pytest.mark.parametrize("which", [0, -1])
async def test_a_quarantined_end_is_reported_as_long_as_it_lies_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: int
) -> None:
    path, sent = await _crashed(tmp_path)
    segment = segment_files(path)[which]
    segment.write_bytes(b"\xff" * segment.stat().st_size)
    segment.with_suffix(".ids").unlink(missing_ok=True)
    number = int(segment.stem)
    for reason in ("quarantined: ", "quarantined earlier", "quarantined earlier"):
        caplog.clear()
        async with opened(path, segment_bytes=SMALL) as store:
            (missing,) = store.wal.stats().missing_segments
            assert missing.startswith(f"{number}: {reason}")
            assert 0 < len(items(store)) < len(sent)
        assert [record.levelno >= logging.ERROR for record in caplog.records] == [True]
        assert f"segment {number} of the WAL" in caplog.text


async def test_a_quarantined_only_segment_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path / "a") as store:
        await put(store, [b"one"], [1])
        path = crash_copy(tmp_path / "a", tmp_path / "b")
    segment_files(path)[0].write_bytes(b"")
    async with opened(path) as store:
        assert store.wal.stats().missing_segments == ("1: quarantined: verify 0000000001.lmdb: it is empty",)
        assert (items(store), (await put(store, [b"one"], [1])).accepted) == ([], 1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("penstock.storage", logging.CRITICAL)
    assert str(path / "quarantine" / "0000000001.lmdb") in record.getMessage()
    async with opened(path) as store:
        assert store.wal.stats().missing_segments == ("1: quarantined earlier",)
        assert items(store) == [b"one"]


async def test_quarantine_overwrites_nothing(tmp_path: Path) -> None:
    path, _sent = await _crashed(tmp_path)
    (path / "quarantine" / "0000000003.lmdb").write_bytes(b"an earlier one")
    segment_files(path)[-1].write_bytes(b"short")
    async with opened(path, segment_bytes=SMALL) as store:
        (missing,) = store.wal.stats().missing_segments
        assert missing.startswith("3: ")
    kept = {file.name: file.read_bytes() for file in (path / "quarantine").iterdir()}
    assert kept == {"0000000003.lmdb": b"an earlier one", "0000000003.1.lmdb": b"short"}


@pytest.mark.parametrize(
    ("at", "page"), [(4, 0), (4, 1), (24, 0), (24, 1), (16, 1), (120, 0), (120, 1), (127, 1)]
)
async def test_garbled_meta_pages_stop_no_open(tmp_path: Path, at: int, page: int) -> None:
    path, sent = await _crashed(tmp_path)
    segment = segment_files(path)[-1]
    raw = bytearray(segment.read_bytes())
    raw[page * mmap.PAGESIZE + 16 + at] ^= 0x55
    segment.write_bytes(raw)
    async with opened(path, segment_bytes=SMALL) as store:
        found = items(store)
        assert found == sent[: len(found)]
        assert len(found) == len(sent) or store.wal.stats().missing_segments[0].startswith("3: quarantined: ")


async def test_a_segment_of_another_lmdb_format_stays(tmp_path: Path) -> None:
    path, _sent = await _crashed(tmp_path)
    segment = segment_files(path)[-1]
    raw = bytearray(segment.read_bytes())
    raw[20] = raw[mmap.PAGESIZE + 20] = 2
    segment.write_bytes(raw)
    with pytest.raises(StoreFailed, match=r"(?i)version|format"):
        Store.open(path, StoreOptions(), ManualClock())
    assert segment.read_bytes() == raw


async def test_damaged_events_alone_do_not_condemn(tmp_path: Path) -> None:
    path, sent = await _crashed(tmp_path)
    damage(segment_files(path)[-1], sent[-2][:64])
    async with opened(path, segment_bytes=SMALL) as store:
        assert store.wal.stats().missing_segments == ()
