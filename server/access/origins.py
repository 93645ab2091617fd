"""Which web origins may use a browser key.

An empty list allows none, `"*"` any; the literal origin `null` (sandboxed frames, files) is never allowed,
because an answer may never say so. Immutable, any thread.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Origins:
    """A set of origins. `development` also allows every port of this machine."""

    __slots__ = ("_any", "_development", "_entries", "_exact")

    def __init__(self, allowed: Iterable[str] = (), *, development: bool = False) -> None:
        self._entries = [entry.strip() for entry in allowed]
        self._any = "*" in self._entries
        self._development = development
        self._exact = frozenset(origin for entry in self._entries for origin in _readings(entry))

    def allows(self, origin: bytes) -> bool:
        """Whether a request with this Origin header may pass."""
        text = origin.decode("latin-1")
        if text in self._exact:
            return True
        normal = _normal(text)
        if normal is None:
            return False
        return self._any or normal in self._exact or (self._development and _is_local(normal))

    @classmethod
    def union(cls, members: Iterable["Origins"], *, development: bool = False) -> "Origins":
        """The origins that any of `members` allows: what a preflight, which has no key, is answered from."""
        return cls((entry for member in members for entry in member._entries), development=development)


def _readings(entry: str) -> list[str]:
    """The origins that a configured entry stands for; a bare host stands for http and https."""
    candidates = [entry] if "://" in entry else [f"https://{entry}", f"http://{entry}"]
    return [normal for normal in map(_normal, candidates) if normal is not None]


def _normal(origin: str) -> str | None:
    """`scheme://host[:port]` in lower case without a default port, as browsers send it; None for what is no
    origin.
    """
    try:
        parts = urlsplit(origin.strip().lower())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    plain = port is None or port == _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" if plain else f"{parts.scheme}://{host}:{port}"


def _is_local(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    return host in _LOCAL_HOSTS or host.endswith(".localhost")
