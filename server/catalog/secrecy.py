"""Which fields are secret: those that are known to be, and those whose name says so. Pure."""

import re
from functools import lru_cache
from typing import Final

_WHOLE: Final = frozenset({"sslkey", "sslclientkey", "functionsenv", "auth"})
_PARTS: Final = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "plaintext",
    "secret",
    "token",
    "credential",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "encryptionkey",
    "signingkey",
    "accountkey",
    "sharedkey",
    "masterkey",
    "connectionstring",
)
_NOT: Final = frozenset({"privatekeys"})
"""A stream's list of keys: of each, `plaintext` and `token` are secret, its id and hint are not."""
_NAMED: Final = frozenset({"streams"})
"""The fields of these are names that people gave: a table may well be called `tokens`."""
_OTHER: Final = re.compile("[^a-z0-9]")


def is_secret(field: str, inside: str = "") -> bool:
    """Whether everything below a field is secret, in whichever object, known or not, however its name
    is written; `inside` is the field that holds it. Rather too much than too little.
    """
    return inside not in _NAMED and _says_so(field)


@lru_cache(4096)
def _says_so(field: str) -> bool:
    word = _OTHER.sub("", field.lower())
    return word not in _NOT and (word in _WHOLE or any(part in word for part in _PARTS))
