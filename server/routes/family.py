"""What the route families have in common: how a family words its answers, and what a route says about its
requests.

A family is a dialect of answers (contract with its SDKs); a route is one path of it. Success bodies are
non-empty JSON objects and every error has top-level `code` and `message`: older SDKs resend anything else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from server.ingest import Decoded, ItemError, Limits, Refusal, RequestFacts, decode_event
from server.problems import Problem

ErrorBody = Callable[[Problem, str, Sequence[ItemError]], bytes]
SuccessBody = Callable[[Decoded], bytes]
Decode = Callable[[bytes, RequestFacts, Limits], Decoded | Refusal]
EventOfQuery = Callable[[str], bytes | Refusal]


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

    `decode` takes the payload apart. `path_type` wins over the type in the body (None: the body's counts);
    `needs_identity` makes a server key's event name a userId or an anonymousId; `host_fallback` lets a
    request without a key go to the stream that lists its host; `classic` also looks for the key where Jitsu
    Classic's SDKs put it; an `upload` is a file in a form. `event_of_query` makes the route a pixel: GET, its
    payload is what the query says, its answers are GIFs.
    """

    family: Family
    success: SuccessBody
    decode: Decode = decode_event
    path_type: str | None = None
    needs_identity: bool = False
    host_fallback: bool = False
    classic: bool = False
    upload: bool = False
    event_of_query: EventOfQuery | None = None


def listing(body: dict[str, object], errors: Sequence[ItemError]) -> bytes:
    """An answer as JSON, with the refused items in it if there are any: any route may be sent an array."""
    return json_bytes({**body, "errors": item_errors(errors)} if errors else body)


def item_errors(errors: Sequence[ItemError]) -> list[dict[str, object]]:
    """The `errors` member of an answer: which items of the batch were refused, and why."""
    return [
        {"index": error.index, "messageId": error.message_id, "code": error.slug, "message": error.message}
        for error in errors
    ]


def json_bytes(body: dict[str, object]) -> bytes:
    """Compact JSON."""
    return orjson.dumps(body)
