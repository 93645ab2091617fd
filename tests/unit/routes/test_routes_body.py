"""Reading a body: what is inflated on the event loop and what is not, and what is reserved for it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from server.counters import IngestCounters
from server.ingest import Refusal
from server.routes.body import Bodies, BodyLimits
from tests.unit.routes.headers import Headers

_MAX = 10_000_000


async def _read(packed: bytes, bytes_max: int = _MAX) -> tuple[bytes | Refusal, bool]:
    """The plain body of a request that is here whole, and whether others had the loop meanwhile."""

    async def transport() -> bytes:
        return packed

    bodies = Bodies(BodyLimits(bytes_max, 10 * _MAX, 10.0), IngestCounters())
    headers: Any = Headers({"content-encoding": "gzip"})
    reading: Any = transport
    others = asyncio.create_task(asyncio.sleep(0))
    plain = await bodies.read(headers, reading, len(packed), 0.0, upload=False)
    was_free = others.done()
    await others
    return plain, was_free


async def test_a_small_body_is_inflated_at_once() -> None:
    plain = b'{"a":1}' * 1_000
    assert await _read(gzip.compress(plain)) == (plain, False)


async def test_10_kb_that_are_10_mb_do_not_hold_the_loop_up() -> None:
    assert await _read(gzip.compress(bytes(_MAX))) == (bytes(_MAX), True)


async def test_a_bomb_is_refused_with_the_limit_of_the_settings() -> None:
    for bytes_max, size in ((_MAX, _MAX + 1), (1_000, 2_000)):
        refusal, _ = await _read(gzip.compress(bytes(size)), bytes_max)
        assert isinstance(refusal, Refusal)
        assert (refusal.slug, f" {bytes_max} " in refusal.detail) == ("too_large", True)


@pytest.mark.parametrize(("parts", "slug"), [(1, None), (3, "overloaded"), (5, "too_large")])
async def test_what_is_reserved_for_a_body_of_unknown_length_grows_with_it(
    parts: int, slug: str | None
) -> None:
    counters = IngestCounters()
    bodies = Bodies(BodyLimits(4 * 60_000, 2 * 60_000 if slug == "overloaded" else _MAX, 10.0), counters)
    seen = []

    async def transport() -> AsyncIterator[bytes]:
        for _ in range(parts):
            seen.append(counters.in_flight_bytes)
            yield bytes(60_000)

    headers: Any = Headers()
    reading: Any = transport()
    assert bodies.reserve(-1) is None
    body = await bodies.read(headers, reading, -1, 0.0, upload=False)
    bodies.release(-1)
    assert body == bytes(60_000) if slug is None else isinstance(body, Refusal) and body.slug == slug
    assert seen == [65_536, 65_536, 120_000, 180_000, 240_000][:parts]
    assert counters.in_flight_bytes == 0
