"""Shapes of bodies that every dialect shares: what a body opens with, its bounds, the key it carries.

Pure, any thread; nothing here raises but what is said.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from server.ingest.envelope import IRREGULAR
from server.ingest.lenient import Repairs, UnreadableError, encode, parse
from server.ingest.values import Limits, Refusal

# Larger bodies that need repair are not parsed for their write key: nobody has vouched for them yet, and the
# slow path can take 70 ms a megabyte.
_STRANGER_BYTES_MAX: Final = 1_000_000
_BLANK: Final = b" \t\r\n"


class _Keyed(msgspec.Struct, gc=False):
    writeKey: str | None = None  # noqa: N815
    api_key: str | None = None
    template: Raw | UnsetType = UNSET


_decode_keyed = msgspec.json.Decoder(_Keyed).decode
decode_object = msgspec.json.Decoder(dict[str, Any] | None).decode
decode_array = msgspec.json.Decoder(list[Raw]).decode


def body_write_key(body: bytes) -> str | None:
    """The `writeKey` at the top of a body (of its first event, if it is an array); None if there is none that
    can be read.
    """
    return _key(body, classic=False)


def body_api_key(body: bytes) -> str | None:
    """The key in a body of a classic route: `writeKey` or `api_key` at its top, in the first event of an
    array, or in the `template`; None if there is none that can be read.
    """
    return _key(body, classic=True)


def file_api_key(content: bytes) -> str | None:
    """The key in an uploaded file: in its first line, or in all of it, if it is one array."""
    first_line = content.lstrip(_BLANK).partition(b"\n")[0]
    return body_api_key(first_line) or body_api_key(content)


def _key(body: bytes, classic: bool) -> str | None:
    try:
        require_utf8(body)
        return _strict_key(body, classic)
    except IRREGULAR:
        if len(body) > _STRANGER_BYTES_MAX:
            return None
    try:
        value = parse(body, Repairs())
    except UnreadableError:
        return None
    return _loose_key(value, classic)


def _strict_key(body: bytes | Raw, classic: bool) -> str | None:
    if isinstance(body, bytes) and is_array(body):
        raws = decode_array(body)
        return _strict_key(raws[0], classic) if raws else None
    keyed = _decode_keyed(body)
    key = keyed.writeKey
    if classic and not key:
        key = keyed.api_key
        if not key and keyed.template is not UNSET:
            return _strict_key(keyed.template, classic)
    return key or None


def _loose_key(value: Any, classic: bool) -> str | None:
    if type(value) is list:
        value = value[0] if value else None
    if type(value) is not dict:
        return None
    for name in ("writeKey", "api_key") if classic else ("writeKey",):
        key = value.get(name)
        if key and type(key) is str:
            return key
    template = value.get("template")
    return _loose_key(template, classic) if classic and type(template) is dict else None


def is_array(body: bytes) -> bool:
    """Whether a JSON body is an array, if it is JSON."""
    return body.lstrip(_BLANK).startswith(b"[")


def require_utf8(body: bytes) -> None:
    """The decoder does not look into the strings that it skips, so this does; raises UnicodeDecodeError."""
    if not body.isascii():
        str(body, "utf-8")


def object_bytes(raw: Raw | UnsetType) -> bytes | None:
    """An object for all events of a body, None if it says nothing; raises what the decoder raises for
    anything else.
    """
    if raw is UNSET:
        return None
    return bytes(raw) if decode_object(raw) else None


def encoded_object(value: Any) -> bytes | None:
    """`object_bytes` of a parsed value."""
    return encode(value) if type(value) is dict and value else None


def refuse_count(events: int, limits: Limits) -> Refusal | None:
    """Why a body with so many events is refused whole."""
    if events == 0:
        return Refusal("empty_batch", "the batch has no events")
    if events > limits.batch_events_max:
        return Refusal(
            "too_many_events", f"the batch has {events} events, more than {limits.batch_events_max}"
        )
    return None


def refuse_shared(shared_bytes: int, limits: Limits) -> Refusal | None:
    """Why so many bytes that all events of a body repeat are refused."""
    if shared_bytes <= limits.shared_bytes_max:
        return None
    return Refusal(
        "too_large", f"what the batch says for all events has more than {limits.shared_bytes_max} bytes"
    )
