"""The CORS headers that every ingest answer carries, errors included (a browser hides status and Retry-After
without them).

Source of the facts: MDN's CORS pages. `Authorization` is never covered by a wildcard, so every header is
listed by name; Chromium caps Max-Age at 7200 s; an echoed origin needs `Vary: Origin`; `null` is never
allowed.
"""

from typing import Final

from server.access import Origins
from server.routes.rsgi import AnswerHeaders

_REQUEST_HEADERS: Final = (
    "Content-Type, Authorization, X-Write-Key, X-Retry-Count, X-Enable-Debug, X-IP-Policy, X-Auth-Token, "
    "X-Jitsu-Custom, Cache-Control, AnonymousId, SentAt, Rsa-Retry-Attempt, Rsa-Retry-Reason, "
    "Rsa-Since-Last-Attempt, Rsa-Since-First-Attempt, Rsa-Recovered"
)
_MAX_AGE: Final = ("access-control-max-age", "7200")
_ORIGIN_LENGTH_MAX: Final = 300  # a host name has at most 253 characters
_CACHE_MAX: Final = 1_000  # `"*"` lets any origin in


class Cors:
    """Header lists by origin, for routes that take `methods` and answer with `content_type`.

    `origins` is the union over all streams: a preflight has no key, and neither may an error need one.
    """

    def __init__(
        self, origins: Origins, methods: str = "POST, OPTIONS", content_type: str = "application/json"
    ) -> None:
        self._origins = origins
        self._cache: dict[str, AnswerHeaders] = {}
        self._always: AnswerHeaders = [
            ("content-type", content_type),
            ("vary", "Origin"),
            ("access-control-allow-methods", methods),
            ("access-control-allow-headers", _REQUEST_HEADERS),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "Retry-After, RateLimit, RateLimit-Policy"),
        ]

    def use(self, origins: Origins) -> None:
        """Other origins from the next answer on."""
        self._origins = origins
        self._cache.clear()

    def allows(self, origin: str | None) -> bool:
        """Whether a request may come from there; without an Origin (servers, curl) it may."""
        return origin is None or self._origins.allows(origin.encode())

    def headers(self, origin: str | None) -> AnswerHeaders:
        """Headers of an answer; Allow-Origin only for an origin that some stream knows. Shared: do not change
        the list.
        """
        if origin is None:
            return self._always
        found = self._cache.get(origin)
        if found is None:
            if not self._origins.allows(origin.encode()):
                return self._always
            found = [*self._always, ("access-control-allow-origin", origin)]
            if len(self._cache) < _CACHE_MAX and len(origin) <= _ORIGIN_LENGTH_MAX:
                self._cache[origin] = found
        return found

    def preflight(self, origin: str | None) -> AnswerHeaders:
        """Headers of the answer to OPTIONS."""
        return [*self.headers(origin), _MAX_AGE]
