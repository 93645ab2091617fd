"""The write keys of stored streams: keyed digests, so that the store does not say what they are. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from server.catalog import Fault, Stream, WriteKey
from server.management.secrets import MASK, SecretBox

_LISTS: Final = {"browser_keys": "publicKeys", "server_keys": "privateKeys"}
_ANSWERED: Final = ("createdAt", "lastUsed")
_SHOWN_CHARACTERS: Final = 3
_SHOWN_OF_AT_LEAST: Final = 12


def with_hashes(
    stream: Mapping[str, Any], before: Mapping[str, Any], box: SecretBox
) -> tuple[dict[str, Any], list[Fault]]:
    """A stream with hashes in the place of its secrets. A key that is named by its id alone keeps the hash
    that it has `before`; one that is not known is a fault.
    """
    result, faults = dict(stream), []
    for field, published in _LISTS.items():
        if not isinstance(stream.get(field), list | tuple):
            continue
        known = {key["id"]: key for key in before.get(field, ())}
        result[field] = keys = [_hashed(key, known, box) for key in stream[field]]
        faults += [
            Fault(f"{published}[{index}]", "is not known", "give its plaintext; it is kept as a hash")
            for index, key in enumerate(keys)
            if isinstance(key, dict) and key.get("hash") is None and isinstance(key.get("id"), str)
        ]
        faults += [
            Fault(f"{published}[{index}].id", "is the id of another key too", "revoking goes by the id")
            for index in _repeated(keys)
        ]
    return result, faults


def _repeated(keys: Sequence[Any]) -> Iterator[int]:
    """The places of keys that are called like one before."""
    seen: set[str] = set()
    for index, key in enumerate(keys):
        id_ = key.get("id") if isinstance(key, dict) else None
        if isinstance(id_, str):
            if id_ in seen:
                yield index
            seen.add(id_)


def comparable(stream: Stream, box: SecretBox) -> Stream:
    """A stream of which every key is a hash, as those of stored streams are."""

    def hashed(keys: tuple[WriteKey, ...]) -> tuple[WriteKey, ...]:
        return tuple(
            key if key.token is None else WriteKey(id=key.id, hash=box.digest(key.token)) for key in keys
        )

    return msgspec.structs.replace(
        stream, browser_keys=hashed(stream.browser_keys), server_keys=hashed(stream.server_keys)
    )


def _hashed(key: Any, known: Mapping[str, Any], box: SecretBox) -> Any:
    if not isinstance(key, dict):
        return key
    rest = {name: value for name, value in key.items() if name not in _ANSWERED}
    token = rest.get("token")
    if isinstance(token, str) and token:
        del rest["token"]
    if isinstance(token, str) and token and not token.endswith(MASK):  # the mask is no secret of its own
        return {**rest, "hash": box.digest(token), "hint": _hint(token)}
    id_ = rest.get("id")
    if rest.get("hash") is None and isinstance(id_, str) and id_ in known:
        return {**rest, "hash": known[id_]["hash"], "hint": known[id_]["hint"]}
    return rest


def _hint(token: str) -> str:
    """The ends of a secret that is long enough to stay one."""
    secret = token.partition(":")[2] or token
    if len(secret) < _SHOWN_OF_AT_LEAST:
        return "***"
    return f"{secret[:_SHOWN_CHARACTERS]}*{secret[-_SHOWN_CHARACTERS:]}"
