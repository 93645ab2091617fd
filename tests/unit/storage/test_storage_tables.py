"""The tables: atomic durable writes, ordered scans, quotas."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from storage import Delete, Put, StoreClosed, StoreFull
from tests.unit.storage.workbench import opened

KEYS = [b"a", b"b1", b"b2", b"b\xff", b"c"]


async def test_writes_outlive_the_store(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.catalog.write([Put("t", b"k", b"v"), Put("u", b"k", b""), Put("t", b"gone", b"v")])
        await store.catalog.write([Delete("t", b"gone"), Delete("t", b"never there")])
    async with opened(tmp_path) as store:
        assert (store.catalog.get("t", b"k"), store.catalog.get("u", b"k")) == (b"v", b"")
        assert store.catalog.get("t", b"gone") is store.catalog.get("no table", b"k") is None


async def test_later_writes_win(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        writes = [store.catalog.write([Put("t", b"k", b"%d" % number)]) for number in range(20)]
        await asyncio.gather(*writes)
        assert store.catalog.get("t", b"k") == b"19"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, KEYS),
        ({"prefix": b"b"}, KEYS[1:4]),
        ({"prefix": b"b", "after": b"b1"}, KEYS[2:4]),
        ({"after": b"b1x", "limit": 2}, KEYS[2:4]),
        ({"reverse": True}, KEYS[::-1]),
        ({"prefix": b"b", "reverse": True}, KEYS[3:0:-1]),
        ({"prefix": b"b", "after": b"b2", "reverse": True}, [b"b1"]),
        ({"prefix": b"b\xff", "reverse": True, "limit": 1}, [b"b\xff"]),
        ({"prefix": b"\xff", "reverse": True}, []),
        ({"prefix": b"c", "after": b"a"}, [b"c"]),
        ({"after": b"a", "reverse": True}, []),
        ({"limit": 0}, []),
    ],
)
async def test_scans(tmp_path: Path, arguments: dict[str, object], expected: list[bytes]) -> None:
    async with opened(tmp_path) as store:
        await store.catalog.write([Put("t", key, b"v") for key in KEYS])
        assert [key for key, _ in store.catalog.scan("t", **arguments)] == expected  # type: ignore[arg-type]
        assert store.catalog.scan("no table", **arguments) == []  # type: ignore[arg-type]


async def test_the_quota_refuses_puts_until_something_is_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path, scratch_bytes_max=1024 * 1024) as store:
        for number in range(15):
            await store.scratch.write([Put("t", b"%d" % number, bytes(50_000))])
        with pytest.raises(StoreFull):
            await store.scratch.write([Put("t", b"too much", bytes(300_000))])
        await store.scratch.write([Delete("t", b"%d" % number) for number in range(5)])
        await store.scratch.write([Put("t", b"fits now", bytes(300_000))])


async def test_beyond_the_quota_what_is_there_may_change_still(tmp_path: Path) -> None:
    async with opened(tmp_path, scratch_bytes_max=1024 * 1024) as store:
        await store.scratch.write([Put("books", b"link", b"1")])
        with suppress(StoreFull):
            for number in range(1_000):
                await store.scratch.write([Put("t", b"%d" % number, bytes(5_000))])
        await store.scratch.write([Put("books", b"link", bytes(20_000))])
        with pytest.raises(StoreFull):
            await store.scratch.write([Put("books", b"link", b"3"), Put("t", b"another", bytes(20_000))])
        with pytest.raises(StoreFull):
            await store.scratch.write([Put("books", b"link", bytes(17 * 1024 * 1024))])
        assert store.scratch.get("books", b"link") == bytes(20_000)


@pytest.mark.parametrize("key", [b"", b"k" * 512])
async def test_a_bad_key_fails_alone(tmp_path: Path, key: bytes) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(ValueError, match="key"):
            await store.catalog.write([Put("t", b"good", b"v"), Put("t", key, b"v")])
        assert store.catalog.scan("t") == []


async def test_a_closed_store_takes_no_writes(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.close()
        with pytest.raises(StoreClosed):
            await store.catalog.write([Put("t", b"k", b"v")])
