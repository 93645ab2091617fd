"""Secrets of stored objects: encrypted at rest, masked in answers.

The key file lies in the data directory beside the store and is no part of it: a copy of the store alone
reveals no secret, and lets no key in. Whoever moves a data directory moves the file along; whoever restores a
backup puts it back. Any thread; made while the store's lock is held.
"""

import logging
import os
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from server.catalog import is_secret

if TYPE_CHECKING:
    from server.management.cipher import Cipher

_log = logging.getLogger("penstock.secrets")

KEY_FILE: Final = "secret.key"
MASK: Final = "__MASKED_BY_PENSTOCK__"
_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_OTHERS_MAY: Final = 0o077


_PUT_BACK: Final = f"put back the {KEY_FILE} that this store was used with (no backup of a store has it)"


class SecretError(Exception):
    """What is sealed cannot be read; the message says what to do."""


def require_same(known: bytes | None, box: "SecretBox") -> None:
    """Raises SecretError unless the box is the one of that fingerprint, if there is one."""
    if known is not None and known != box.fingerprint:
        raise SecretError(f"what is stored belongs to another key file: {_PUT_BACK}")


class SecretBox:
    """Seals with AES-256-GCM under a random nonce, and digests keys so that they can be looked up."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes. Each use has a key of its own, derived from it."""
        self._sealing_key = _derived(key, b"seal")
        self.digest_key = _derived(key, b"digest")
        """For the keyed digests of write keys."""

    @classmethod
    def open(cls, data_dir: Path) -> "SecretBox":
        """With the key file of a data directory, made if there is none (0600, durable). SecretError."""
        path = data_dir / KEY_FILE
        try:
            if not path.exists():
                _write_new(path, os.urandom(_KEY_BYTES).hex().encode() + b"\n")
            return cls(_read_key(path))
        except OSError as error:
            raise SecretError(f"cannot use the key file {path}: {error.strerror}") from error

    @property
    def fingerprint(self) -> bytes:
        """By which the key file is known again."""
        return self.digest("fingerprint").encode()

    @cached_property
    def _cipher(self) -> "Cipher":
        from server.management.cipher import Cipher  # a start without a secret among its objects needs none

        return Cipher(self._sealing_key)

    def seal(self, text: str) -> str:
        """Encrypted and authenticated; never the same twice."""
        return self._cipher.seal(text)

    def unseal(self, sealed: str) -> str:
        """The text that was sealed. Raises SecretError for another key file, and for anything changed."""
        try:
            return self._cipher.unseal(sealed)
        except ValueError as error:
            raise SecretError(f"a stored secret cannot be read: {_PUT_BACK}") from error

    def digest(self, text: str) -> str:
        """Keyed and one-way, 32 hexadecimal digits: enough to know a random secret again, not to learn it."""
        raw = text.encode("utf-8", "replace")
        return blake2b(raw, digest_size=_DIGEST_BYTES, key=self.digest_key).hexdigest()


def masked(body: Any) -> Any:
    """A copy in which every secret is `MASK`; an empty one stays: there is none."""
    return _masked(body, "", secret=False)


def unmasked(new: Any, old: Any) -> Any:
    """`new` with what `old` holds wherever `new` holds the mask of a secret. A mask over nothing is left out.

    Items of a list are found again by their `id`, else by their place.
    """
    return _unmasked(new, old, "", secret=False)


def _masked(value: Any, field: str, *, secret: bool) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _masked(item, key, secret=secret or is_secret(key, field)) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, "", secret=secret) for item in value]
    return MASK if secret and value not in (None, "") else value


def _unmasked(new: Any, old: Any, field: str, *, secret: bool) -> Any:
    if isinstance(new, Mapping):
        known = old if isinstance(old, Mapping) else {}
        result = {}
        for key, item in new.items():
            below = secret or is_secret(key, field)
            if not (below and item == MASK):
                result[key] = _unmasked(item, known.get(key), key, secret=below)
            elif key in known:
                result[key] = known[key]
        return result
    if isinstance(new, list | tuple):
        pairs = [(item, _same(item, place, old)) for place, item in enumerate(new)]
        return [
            known if secret and item == MASK else _unmasked(item, known, "", secret=secret)
            for item, known in pairs
            if known is not None or not (secret and item == MASK)
        ]
    return new


def _same(item: Any, place: int, old: Any) -> Any:
    """What stands in the old list for an item of the new one."""
    known = old if isinstance(old, list | tuple) else []
    if isinstance(item, Mapping) and "id" in item:
        same = (one for one in known if isinstance(one, Mapping) and one.get("id") == item["id"])
        return next(same, None)
    return known[place] if place < len(known) else None


def _derived(key: bytes, use: bytes) -> bytes:
    return blake2b(b"penstock", digest_size=_KEY_BYTES, key=key, person=use).digest()


def _read_key(path: Path) -> bytes:
    if path.stat().st_mode & _OTHERS_MAY:
        _log.warning("%s could be read by others; it is its owner's alone now", path)
        path.chmod(0o600)
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise SecretError(f"{path} is damaged: {_PUT_BACK}")
    return key


def _write_new(path: Path, content: bytes) -> None:
    """Whole or not at all, also if the machine stops in the middle."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
