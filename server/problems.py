"""Every refusal the server answers with: ONE table, slug → status, retryable, text.

The shape of the body belongs to the route family (routes/); the status never appears anywhere else. A refusal
on the hot path is returned as a slug, not raised.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of refusal. `slug` is the `code` of the answer, `text` its default `message`."""

    slug: str
    status: int
    retryable: bool
    text: str


PROBLEMS: Final[dict[str, Problem]] = {
    problem.slug: problem
    for problem in (
        Problem("bad_json", 400, False, "the body is not JSON"),
        Problem("bad_gzip", 400, False, "Content-Encoding says gzip but the body cannot be inflated"),
        Problem("invalid_event", 400, False, "the event is not valid"),
        Problem("unknown_type", 400, False, "unknown event type"),
        Problem("empty_batch", 400, False, "the batch has no events"),
        Problem("too_many_events", 400, False, "the batch has too many events"),
        Problem("bad_request", 400, False, "the request is not valid"),
        Problem("unauthorized", 401, False, "the write key is missing, unknown or revoked"),
        Problem("admin_unauthorized", 401, False, "Admin token does not match"),
        Problem("key_unauthorized", 401, False, "the API key is missing, unknown, wrong or revoked"),
        Problem("key_forbidden", 403, False, "the API key's role may not do this"),
        Problem("origin_not_allowed", 403, False, "this origin is not allowed for the write key"),
        Problem("not_found", 404, False, "no such route"),
        Problem("event_not_found", 404, False, "no event with this messageId is within the horizon"),
        Problem("method_not_allowed", 405, False, "this route does not take that method"),
        Problem("conflict", 409, False, "what is there stands against it"),
        Problem("backup_running", 409, True, "a backup is being made already"),
        Problem("precondition_failed", 412, False, "the object was changed since it was read"),
        Problem("too_large", 413, False, "the body is too large"),
        Problem("unsupported_encoding", 415, False, "Content-Encoding must be gzip or identity"),
        Problem("rate_limited", 429, True, "too many events for this write key"),
        Problem("too_many_failures", 429, True, "too many wrong API keys from this address"),
        Problem("internal", 500, False, "the server failed at this; its log says how"),
        Problem("overloaded", 503, True, "too many bytes in flight"),
        Problem("body_timeout", 408, True, "the body did not arrive in time"),
        Problem("backlog_full", 503, True, "a link of this stream is too far behind"),
        Problem("store_full", 503, True, "the store has no room"),
        Problem("store_failed", 503, True, "the store cannot take events"),
        Problem("stopping", 503, True, "the server is stopping"),
    )
}
