"""Authenticated encryption of the secrets at rest. Loaded when there is one: cryptography takes 15 ms."""

import base64
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES: Final = 12


class Cipher:
    """AES-256-GCM under a random nonce, as text."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, text: str) -> str:
        """Never the same twice."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), None)).decode()

    def unseal(self, sealed: str) -> str:
        """The text that was sealed. Raises ValueError for another key, and for anything changed."""
        raw = base64.b64decode(sealed, validate=True)
        try:
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None).decode()
        except InvalidTag as error:
            raise ValueError("not sealed with this key") from error
