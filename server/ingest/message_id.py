"""Message ids: their hashes, and the ids the server makes. Pure but for the randomness of a new id."""

import os

import xxhash

_hash = xxhash.xxh3_64_intdigest


def stream_seed(stream_id: str) -> int:
    """Seed of a stream's message-id hashes: the same messageId in two streams is two events."""
    return _hash(stream_id.encode())


def message_hash(seed: int, message_id: str) -> int:
    """The 64-bit hash that dedupe and the look-up by messageId use; `seed` comes from `stream_seed`."""
    return _hash(message_id.encode(), seed)


def new_message_id(received_ms: int) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of `received_ms`, then random bits."""
    random = int.from_bytes(os.urandom(10), "big")
    bits = (received_ms & 0xFFFF_FFFF_FFFF) << 80 | random
    bits = bits & ~(0xF << 76) | 0x7 << 76  # version 7
    bits = bits & ~(0x3 << 62) | 0x2 << 62  # variant 10
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
