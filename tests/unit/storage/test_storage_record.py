"""The byte layout of a WAL value."""

from array import array
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.record import Damaged, Part, Value, pack, pack_ids, split_key, stream_prefix, value_key

FIRST = 1_000


def packed(groups: Sequence[tuple[bytes, list[bytes]]]) -> bytes:
    submissions = [Part(head, items, range(len(items))) for head, items in groups]
    return pack("site", FIRST, 5, submissions, pack_ids(submissions))


def unpacked(raw: bytes) -> list[tuple[int, bytes, bytes]]:
    """(offset, head, item) of every event."""
    value = Value(memoryview(raw), "site", FIRST)
    return [
        (first + at, head, item)
        for block in value.blocks
        for first, head, items in value.groups(block)
        for at, item in enumerate(items)
    ]


def expected(groups: Sequence[tuple[bytes, list[bytes]]]) -> list[tuple[int, bytes, bytes]]:
    events = [(head, item) for head, items in groups for item in items]
    return [(FIRST + at, head, item) for at, (head, item) in enumerate(events)]


sizes = st.one_of(st.integers(0, 40), st.integers(0, 70_000))
group = st.tuples(
    st.binary(max_size=200), st.lists(sizes.map(lambda size: b"e" * size), min_size=1, max_size=20)
)


@settings(max_examples=60)
@given(st.lists(group, min_size=1, max_size=12))
def test_what_is_packed_is_unpacked(groups: list[tuple[bytes, list[bytes]]]) -> None:
    assert unpacked(packed(groups)) == expected(groups)


@pytest.mark.parametrize("count", [1, 959, 960, 961, 5_000])
def test_blocks_stay_under_64_kib(count: int) -> None:
    raw = packed([(b"h" * 90, [b"e" * (at % 90) for at in range(count)])])
    value = Value(memoryview(raw), "site", FIRST)
    assert max(block.stop - block.start for block in value.blocks) <= 64 * 1024
    assert len(unpacked(raw)) == count


def test_a_larger_event_has_a_block_of_its_own() -> None:
    groups = [(b"h", [b"small", b"x" * 100_000, b"small"])]
    value = Value(memoryview(packed(groups)), "site", FIRST)
    assert [(block.first, block.last) for block in value.blocks] == [(1000, 1000), (1001, 1001), (1002, 1002)]
    assert unpacked(packed(groups)) == expected(groups)


def test_any_buffer_is_an_item() -> None:
    items = [b"one", memoryview(b"two"), msgspec.Raw(b"three"), bytearray(b"four")]
    submission = Part(b"h", items, [1, 2, 3, 4])
    raw = pack("site", FIRST, 5, [submission], pack_ids([submission]))
    assert [item for _, _, item in unpacked(raw)] == [b"one", b"two", b"three", b"four"]


def test_every_flipped_byte_is_found() -> None:
    groups = [(b"head", [b"one", b"two"]), (b"other", [b"x" * 61_000])]
    raw = packed(groups)
    whole = expected(groups)
    for at in [*range(300), *range(300, len(raw), 997), len(raw) - 1]:
        flipped = bytearray(raw)
        flipped[at] ^= 0x40
        assert _survivors(bytes(flipped)) in (
            "ids",
            *[[e for e in whole if e[0] in kept] for kept in _KEPT],
        ), at


_KEPT: list[set[int]] = [set(), {1000, 1001}, {1002}]


def _survivors(raw: bytes) -> list[tuple[int, bytes, bytes]] | str:
    """Events that are still read from damaged bytes; "ids" if only the ids are gone."""
    found = []
    try:
        value = Value(memoryview(raw), "site", FIRST)
    except Damaged:
        return []
    for block in value.blocks:
        try:
            for first, head, items in value.groups(block):
                found += [(first + at, head, item) for at, item in enumerate(items)]
        except Damaged:
            pass
    if len(found) < 3:
        return found
    with pytest.raises(Damaged):
        value.ids()
    return "ids"


@pytest.mark.parametrize("length", [0, 10, 60, -1])
def test_a_cut_value_is_damaged(length: int) -> None:
    raw = packed([(b"head", [b"one"])])
    with pytest.raises(Damaged):
        Value(memoryview(raw[:length]), "site", FIRST)


def test_a_value_under_another_key_is_damaged() -> None:
    raw = memoryview(packed([(b"head", [b"one"])]))
    for stream, first in (("other", FIRST), ("site", FIRST + 1)):
        with pytest.raises(Damaged):
            Value(raw, stream, first)


def test_ids_are_kept() -> None:
    submissions = [Part(b"", [b"a", b"b"], [0, 2**64 - 1]), Part(b"", [b"c"], [7])]
    value = Value(memoryview(pack("site", FIRST, 5, submissions, pack_ids(submissions))), "site", FIRST)
    assert value.ids() == array("Q", [0, 2**64 - 1, 7])


def test_keys_sort_by_stream_and_offset() -> None:
    keys = [
        value_key(stream_prefix(stream), offset) for stream in ("a", "ab", "b") for offset in (1, 255, 256)
    ]
    assert keys == sorted(keys)
    assert split_key(keys[4]) == ("ab", 255)


@pytest.mark.parametrize("stream", ["", "a\0b", "é" * 128])
def test_bad_stream_names_are_refused(stream: str) -> None:
    with pytest.raises(ValueError, match="stream name"):
        stream_prefix(stream)
