"""One object, and its record in the catalog: JSON, in which every secret is sealed. Pure but for the box."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import orjson
from msgspec import Struct

from server.catalog import is_secret
from server.management.secrets import SecretBox

TABLE: Final = "objects"
KEY_TABLE: Final = "secrets"
KEY_RECORD: Final = b"fingerprint"
"""Where it is written which key file the objects belong to."""
_SEALED: Final = "sealed"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object. `body` is under our names, without the id, defaults filled in, secrets as they are;
    `provisioned` ones are declared in the configuration file and only read here. Times are wall milliseconds.
    """

    kind: str
    id: str
    workspace: str
    version: int
    provisioned: bool
    body: dict[str, Any]
    value: Struct
    created_ms: int = 0
    updated_ms: int = 0

    @property
    def etag(self) -> str:
        """Another one after each change; an object that is made again has none of the old ones."""
        return f'"{self.created_ms:x}-{self.version}"'

    @property
    def ends(self) -> tuple[str, str]:
        """What a link joins."""
        return self.body["from"], self.body["to"]

    def __repr__(self) -> str:
        return f"Stored({self.kind} {self.id})"


def matches(etag: str, if_match: str | None) -> bool:
    """Whether the header If-Match lets a change pass."""
    return if_match is None or if_match.strip() == "*" or etag in map(str.strip, if_match.split(","))


class Record(Struct, frozen=True):
    """What the catalog has of an object."""

    kind: str
    id: str
    workspace: str
    version: int
    created_ms: int
    updated_ms: int
    body: dict[str, Any]


def record_key(kind: str, id_: str) -> bytes:
    """Where the record of an object is."""
    return f"{kind}/{id_}".encode()


def encoded(item: Stored, box: SecretBox) -> bytes:
    """The record of an object."""

    def seal(value: object) -> object:
        return {_SEALED: box.seal(orjson.dumps(value).decode())}

    body = _secrets_mapped(item.body, seal)
    return msgspec.json.encode(
        Record(item.kind, item.id, item.workspace, item.version, item.created_ms, item.updated_ms, body)
    )


def decoded(value: bytes, box: SecretBox) -> Record:
    """A record with its secrets as they are. Raises SecretError if the key file is not the one."""

    def unseal(secret: Any) -> object:
        # What was stored before its name counted as a secret's lies there as it is.
        sealed = isinstance(secret, dict) and secret.keys() == {_SEALED}
        return orjson.loads(box.unseal(secret[_SEALED])) if sealed else secret

    record = msgspec.json.decode(value, type=Record)
    return msgspec.structs.replace(record, body=_secrets_mapped(record.body, unseal))


def _secrets_mapped(value: Any, change: Callable[[Any], object], field: str = "") -> Any:
    """A copy with every secret that there is changed; `field` holds the value."""
    if isinstance(value, Mapping):
        return {
            key: change(item) if is_secret(key, field) and item else _secrets_mapped(item, change, key)
            for key, item in value.items()
        }
    return [_secrets_mapped(item, change) for item in value] if isinstance(value, list | tuple) else value
