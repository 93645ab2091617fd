"""gzip bodies."""

import gzip

import pytest

from server.ingest import Refusal, inflate

PLAIN = b'{"type":"page"}' * 10


def slug(body: bytes, bytes_max: int = 1_000_000) -> str:
    result = inflate(body, bytes_max)
    assert isinstance(result, Refusal)
    return result.slug


@pytest.mark.parametrize("body", [PLAIN, b"", b"x" * 300_000])
def test_a_body_is_inflated(body: bytes) -> None:
    assert inflate(gzip.compress(body), 300_000) == body


def test_members_are_joined() -> None:
    assert inflate(gzip.compress(b"ab") + gzip.compress(b"c") + b"\0\0", 3) == b"abc"


def test_the_cap_counts_inflated_bytes_of_all_members() -> None:
    assert inflate(gzip.compress(PLAIN), len(PLAIN)) == PLAIN
    assert slug(gzip.compress(PLAIN), len(PLAIN) - 1) == "too_large"
    assert slug(gzip.compress(b"ab") + gzip.compress(b"c"), 2) == "too_large"


def test_a_bomb_stops_at_the_cap() -> None:
    assert slug(gzip.compress(bytes(50_000_000)), 1_000) == "too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        PLAIN,
        gzip.compress(PLAIN)[:-1],
        gzip.compress(PLAIN)[:5],
        gzip.compress(PLAIN) + b"junk",
        gzip.compress(PLAIN)[:-8] + b"12345678",
        gzip.compress(b"") * 100,
    ],
)
def test_a_damaged_body_is_refused(body: bytes) -> None:
    assert slug(body) == "bad_gzip"
