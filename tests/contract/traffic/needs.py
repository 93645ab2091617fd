"""What each SDK needs of an answer to call its request a success, as seen when they were recorded: older
Python SDKs resend anything but exactly 200, and a 4xx whose JSON lacks `code` or `message`; @jitsu/js fails
without a JSON body; pages see nothing without CORS headers. `shortcomings` says what an answer lacks.
"""

import json
import re
from typing import Any
from urllib.parse import unquote

from tests.contract.traffic.recordings import FOREIGN, Recorded
from tests.contract.traffic.reference import events_of
from tests.running import Answer

SCRIPTS = re.compile(r"/p\.js|/s/lib\.js|/analytics\.js/v1/[^/]+/analytics\.min\.js")
"""What vendors' hosts serve to pages; a page loads it from elsewhere."""

_SETTINGS = re.compile(r"/v1/projects/([^/]+)/settings")
_CLASSIC = re.compile(r"/api/v1/|/api\.")


def shortcomings(request: Recorded, answer: Answer) -> list[str]:
    """Empty if the SDK is content."""
    if request.method == "OPTIONS":
        found = _of_a_preflight(request, answer)
    elif request.sdk in FOREIGN or SCRIPTS.fullmatch(request.path):
        found = _of_a_refusal(answer)
    elif answer.status != 200:
        found = [f"status {answer.status}: {answer.body[:200]!r}"]
    else:
        found = _of_a_body(request, answer.json)
    if request.header("origin"):
        found += _of_cors(request, answer)
    return [f"{request.name}: {text}" for text in found]


def _of_a_body(request: Recorded, body: Any) -> list[str]:
    if (settings := _SETTINGS.fullmatch(request.path)) is not None:
        segment = body["integrations"]["Segment.io"]
        return [] if segment["apiKey"] == unquote(settings[1]) else [f"settings of another key: {segment}"]
    if request.path == "/sourceConfig/":
        source = body["source"]
        usable = source["enabled"] is True and source["destinations"] == [] and source["id"]
        return [] if usable else [f"a source that sends nothing: {body}"]
    expected = _success(request)
    return [] if body == expected else [f"answered {body}, not {expected}"]


def _success(request: Recorded) -> dict[str, object]:
    """The success body of the family."""
    if request.path.startswith("/api/s/"):
        return {"ok": True}
    if _CLASSIC.match(request.path):
        return {"status": "ok"}
    if b'"batch"' not in request.plain:
        return {"success": True}
    count = len(list(events_of(request)))
    return {"success": True, "ok": True, "receivedEvents": count, "okEvents": count}


def _of_a_preflight(request: Recorded, answer: Answer) -> list[str]:
    method = request.header("access-control-request-method")
    asked = _names(request.header("access-control-request-headers"))
    found = [] if answer.status in (200, 204) else [f"preflight: status {answer.status}"]
    if lacking := asked - _names(answer.headers.get("access-control-allow-headers", "")):
        found.append(f"preflight: headers not allowed: {lacking}")
    if method.lower() not in _names(answer.headers.get("access-control-allow-methods", "")):
        found.append(f"preflight: {method} is not allowed")
    return found


def _of_cors(request: Recorded, answer: Answer) -> list[str]:
    headers = answer.headers
    found = []
    if headers.get("access-control-allow-origin") != request.header("origin"):
        found.append(f"no page may read the answer: {headers}")
    if headers.get("access-control-allow-credentials") != "true" or "origin" not in _names(headers["vary"]):
        found.append(f"credentials or caches: {headers}")
    if request.method == "POST" and "retry-after" not in _names(headers["access-control-expose-headers"]):
        found.append(f"Retry-After cannot be read: {headers}")
    return found


def _of_a_refusal(answer: Answer) -> list[str]:
    """A 404 that no SDK resends."""
    worded = answer.status == 404 and {"code", "message"} <= json.loads(answer.body).keys()
    return [] if worded else [f"refused with {answer.status}: {answer.body[:200]!r}"]


def _names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",") if name.strip()}
