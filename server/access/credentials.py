"""Where a request carries its write key (contract.md, Credentials): first found wins. Pure but for a bounded
cache.

Order: Authorization Basic, Authorization Bearer, X-Write-Key, query, then (Jitsu Classic's routes only) the
places of its SDKs; the body comes last and is the caller's affair, because it has to be read first.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

# A credential that is there and says nothing: no stream has such a key, and no other place is asked.
UNREADABLE: Final = ""

_QUERY_NAMES: Final = frozenset({"writeKey", "writekey", "wk"})
# SDKs send the same few headers over and over; a stranger's must not fill the memory.
_REMEMBERED_MAX: Final = 1024
_REMEMBERED_BYTES_MAX: Final = 512


def find_key(headers: Mapping[bytes, bytes], query: bytes) -> str | None:
    """The key, `UNREADABLE` for an Authorization that cannot be decoded, None if there is none.

    `headers` has lower-case names; `query` is the raw query string.
    """
    authorization = headers.get(b"authorization")
    if authorization:
        short = len(authorization) <= _REMEMBERED_BYTES_MAX
        key = _remembered_key(authorization) if short else authorization_key(authorization)
        if key is not None:
            return key
    write_key = headers.get(b"x-write-key")
    if write_key:
        key = write_key.decode("utf-8", "replace").strip()
        if key:
            return key
    return query_key(query) if query else None


def authorization_key(header: bytes) -> str | None:
    """The key in an Authorization header: Basic or Bearer. None for another scheme or an empty credential."""
    scheme, _, credential = header.strip().partition(b" ")
    credential = credential.strip()
    match scheme.lower():
        case b"bearer":
            return credential.decode("utf-8", "replace") or None
        case b"basic":
            return _basic_key(credential)
        case _:
            return None


_remembered_key = lru_cache(maxsize=_REMEMBERED_MAX)(authorization_key)


def _basic_key(credential: bytes) -> str | None:
    """A user name without a password: one trailing colon goes, but a key may hold others (`keyId:secret`)."""
    if not credential:
        return None
    unpadded = credential.rstrip(b"=")  # some clients leave the padding out
    try:
        text = b64decode(unpadded + b"=" * (-len(unpadded) % 4), validate=True).decode()
    except (Base64Error, ValueError):
        return UNREADABLE
    return text.strip().removesuffix(":") or None


def query_key(query: bytes) -> str | None:
    """The first `writeKey`, `writekey` or `wk` of a query string that is not empty. A plus stays a plus."""
    return next((value for name, value in _parameters(query) if name in _QUERY_NAMES), None)


def find_classic_key(headers: Mapping[bytes, bytes], query: bytes) -> str | None:
    """The key where Jitsu Classic's SDKs put it: query `token` or `p_…` (any name that begins so), the header
    X-Auth-Token or `api_key`. For a request in which `find_key` has found none.
    """
    parameters = list(_parameters(query))
    for name, value in sorted(parameters, key=lambda parameter: parameter[0] != "token"):
        if name == "token" or name.startswith("p_"):
            return value
    for header in (b"x-auth-token", b"api_key"):
        key = headers.get(header, b"").decode("utf-8", "replace").strip()
        if key:
            return key
    return None


def _parameters(query: bytes) -> Iterator[tuple[str, str]]:
    """The parameters of a query string that are not empty, in order."""
    for pair in query.decode("utf-8", "replace").split("&"):
        name, _, value = pair.partition("=")
        if value:
            yield name, unquote(value)
