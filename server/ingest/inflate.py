"""gzip bodies, inflated up to a cap. A bomb costs no more memory than the cap."""

import zlib

from server.ingest.values import Refusal

_GZIP_ONLY = 16 + zlib.MAX_WBITS
# What follows a member is copied for the next one, so the number of members is what bounds the work.
_MEMBERS_MAX = 64


def inflate(body: bytes, bytes_max: int) -> bytes | Refusal:
    """The plain bytes of a gzip body of one or more members.

    Refused as `too_large` beyond `bytes_max`, as `bad_gzip` if it is cut short, damaged, or followed by
    anything but zero padding.
    """
    parts: list[bytes] = []
    room = bytes_max
    rest = body
    for _ in range(_MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP_ONLY)
        try:
            part = member.decompress(rest, room + 1)
        except zlib.error as error:
            return Refusal("bad_gzip", f"the gzip body is damaged: {error}")
        room -= len(part)
        if room < 0:
            return Refusal("too_large", f"the body is larger than {bytes_max} bytes when inflated")
        if not member.eof:
            return Refusal("bad_gzip", "the gzip body is cut short")
        parts.append(part)
        rest = member.unused_data.lstrip(b"\0")
        if not rest:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    return Refusal("bad_gzip", f"the gzip body has more than {_MEMBERS_MAX} members")
