"""Message ids: their hashes, and the ids the server makes. Pure but for the randomness of a new id."""

import os

import xxhash

_hash = xxhash.xxh3_64_intdigest
_TAIL_BITS = 48


def stream_seed(stream_id: str) -> int:
    """Seed of a stream's message-id hashes: the same messageId in two streams is two events."""
    return _hash(stream_id.encode())


def message_hash(seed: int, message_id: str) -> int:
    """The 64-bit hash that dedupe and the look-up by messageId use; `seed` comes from `stream_seed`."""
    return _hash(message_id.encode(), seed)


class MessageIds:
    """Makes the ids of one request's events: UUIDv7 (RFC 9562) of `received_ms`.

    The first has 73 random bits, each later one is one more than that before (the RFC's monotonic random):
    they sort as the events came, and cost a quarter of drawing each.
    """

    __slots__ = ("_start", "_tail")

    def __init__(self, received_ms: int) -> None:
        random = int.from_bytes(os.urandom(10), "big")
        bits = (received_ms & 0xFFFF_FFFF_FFFF) << 80 | random
        bits = bits & ~(0xF << 76) | 0x7 << 76  # version 7
        bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant 10
        text = f"{bits >> _TAIL_BITS:020x}"
        self._start = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:]}-"
        # The highest bit stays free, so that counting does not overflow.
        self._tail = bits & (1 << _TAIL_BITS - 1) - 1

    def make(self) -> str:
        """The next id; good for 2^47 of them."""
        self._tail += 1
        return f"{self._start}{self._tail:012x}"
