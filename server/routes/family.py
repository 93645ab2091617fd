"""What the route families have in common: how a family words its answers, and what a route says about its
requests.

A family is a dialect of answers (contract with its SDKs); a route is one path of it. Success bodies are
non-empty JSON objects and every error has top-level `code` and `message`: older SDKs resend anything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from blacksheep import Content, Response

from server.ingest import Decoded, ItemError
from server.problems import Problem

ErrorBody = Callable[[Problem, str, Sequence[ItemError]], bytes]
SuccessBody = Callable[[Decoded], bytes]


@dataclass(frozen=True, slots=True)
class Family:
    """A dialect of answers. `error` words a refusal; its last argument lists the refused items of a batch
    (usually empty).
    """

    name: str
    error: ErrorBody


@dataclass(frozen=True, slots=True)
class IngestRoute:
    """One ingest path.

    `path_type` wins over the type in the body (None: the body's counts); `batch` bodies hold `{"batch":
    […]}`; `needs_identity` makes a server key's event name a userId or an anonymousId; `host_fallback` lets a
    request without a key go to the stream that lists its host.
    """

    family: Family
    success: SuccessBody
    path_type: str | None = None
    batch: bool = False
    needs_identity: bool = False
    host_fallback: bool = False


def item_errors(errors: Sequence[ItemError]) -> list[dict[str, object]]:
    """The `errors` member of an answer: which items of the batch were refused, and why."""
    return [
        {"index": error.index, "messageId": error.message_id, "code": error.slug, "message": error.message}
        for error in errors
    ]


def json_response(status: int, body: dict[str, object]) -> Response:
    """For routes of the framework."""
    return Response(status, None, Content(b"application/json", json_bytes(body)))


def json_bytes(body: dict[str, object]) -> bytes:
    """Compact JSON."""
    return orjson.dumps(body)
