"""Who receives a secret: one that a change would send elsewhere must come with that change. Pure.

Else whoever may change an object, and read none of its secrets, could have them sent to a place of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from server.catalog import SSL_MODES, Datasource, Destination, Fault, Service, is_secret
from server.management.secrets import MASK

_AGAIN: Final = "must be given again: it would be sent to another place than before, or less guarded"
_OURS: Final = ("sslkey", "sslpassword")
"""Parameters that are used on this side of the wire, and never sent."""


def misdirected(given: Mapping[str, Any], before: Struct, after: Struct) -> list[Fault]:
    """The secrets that an object has before and after a change, that would go elsewhere, and that were not
    `given` with it.
    """
    if isinstance(before, Destination) and isinstance(after, Destination):
        old, new = before.datasource, after.datasource
        if old is not None and new is not None and not _is_as_safe(old, new):
            return list(_carried(given.get("datasource"), old, new))
    if isinstance(before, Service) and isinstance(after, Service) and before.package != after.package:
        kept = after.credentials and given.get("credentials") != after.credentials
        return [Fault("credentials", _AGAIN)] if kept else []
    return []


def _is_as_safe(old: Datasource, new: Datasource) -> bool:
    """Whether what is sent to `new` reaches the same server as what is sent to `old`, as well guarded."""
    if (old.host, old.port) != (new.host, new.port):
        return False
    former, mode = _mode(old), _mode(new)
    if mode < former:
        return False
    trust = [source.parameters.get("sslrootcert", "") for source in (old, new)]
    # `require` looks at the certificate if it is told whom to trust.
    checked = former >= SSL_MODES.index("verify-ca") or (former == SSL_MODES.index("require") and trust[0])
    return not checked or trust[0] == trust[1]


def _mode(source: Datasource) -> int:
    """How well the wire is guarded; a mode that is none is refused elsewhere."""
    mode = source.parameters.get("sslmode") or "prefer"
    return SSL_MODES.index(mode) if mode in SSL_MODES else len(SSL_MODES)


def _carried(given: Any, old: Datasource, new: Datasource) -> Iterator[Fault]:
    sent = given if isinstance(given, Mapping) else {}
    if new.password and new.password == old.password and sent.get("password", MASK) == MASK:
        yield Fault("datasource.password", _AGAIN)
    inner = sent.get("parameters")
    parameters = inner if isinstance(inner, Mapping) else {}
    for name, value in new.parameters.items():
        kept = value and old.parameters.get(name) == value and parameters.get(name, MASK) == MASK
        if kept and is_secret(name) and name not in _OURS:
            yield Fault(f"datasource.parameters.{name}", _AGAIN)
