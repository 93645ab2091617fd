"""A refusal on its way to the client, and the headers that go with it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from server.access import TokenBucket
from server.ingest import ItemError, Refusal
from server.problems import PROBLEMS
from storage import StorageError, StoreFull

_log = logging.getLogger("penstock.routes")

Headers = tuple[tuple[str, str], ...]

_WAIT_S: Final = 5.0  # Retry-After of a 503 whose cause does not know better
_WAIT_MAX_S: Final = 300  # SDKs cap it there
_REQUEST_ID_CHARACTERS_MAX: Final = 128
_PATH_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Refused:
    """`slug` is a key of PROBLEMS; `wait_s` becomes Retry-After if the problem is retryable; `errors` are a
    batch's items.
    """

    slug: str
    detail: str = ""
    wait_s: float = _WAIT_S
    errors: Sequence[ItemError] = ()
    headers: Headers = ()

    def all_headers(self) -> Headers:
        """The extra headers of the answer. SDKs read Retry-After as whole seconds, at least one."""
        if not PROBLEMS[self.slug].retryable:
            return self.headers
        seconds = min(max(1, ceil(self.wait_s)), _WAIT_MAX_S)
        return (*self.headers, ("retry-after", str(seconds)))


def refused_as(refusal: Refusal) -> Refused:
    """What ingest said of a body."""
    return Refused(refusal.slug, refusal.detail)


def all_refused(errors: Sequence[ItemError]) -> Refused:
    """400, whatever is wrong with the events of a batch: 413 would be said of the body."""
    slug = next((error.slug for error in errors if error.slug != "too_large"), "invalid_event")
    return Refused(slug, f"every event is refused; the first: {errors[0].message}", errors=errors)


def rate_limited(bucket: TokenBucket, wait_s: float, now_s: float) -> Refused:
    """429 with the RateLimit fields of the IETF draft (draft-ietf-httpapi-ratelimit-headers): one policy, the
    key's bucket.
    """
    limit = bucket.limit
    window_s = max(1, ceil(limit.burst / limit.events_per_second))
    return Refused(
        "rate_limited",
        wait_s=wait_s,
        headers=(
            ("ratelimit-policy", f'"key";q={limit.burst};w={window_s}'),
            ("ratelimit", f'"key";r={bucket.remaining(now_s)};t={max(1, ceil(wait_s))}'),
        ),
    )


def store_refused(error: StorageError) -> Refused:
    """503: the store cannot take events now (no room, floor), or not again in this process."""
    slug = "store_full" if isinstance(error, StoreFull) else "store_failed"
    return Refused(slug, wait_s=getattr(error, "retry_after_s", _WAIT_S))


def defect(method: str, path: str, request_id: str | None, error: Exception) -> Refused:
    """500 for an error that is ours: what it is goes to the log, with the id that a proxy or the client gave
    the request, if it has one, and without the query, where tokens may be.
    """
    id_ = (request_id or "")[:_REQUEST_ID_CHARACTERS_MAX]
    said = f" (request {id_!r})" if id_ else ""
    _log.error("%s %r failed%s", method, path[:_PATH_CHARACTERS_MAX], said, exc_info=error)
    return Refused("internal")
