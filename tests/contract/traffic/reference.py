"""What the recorded requests say, worked out by rules as plain as can be: no code of Penstock's, so that the
two can disagree. `told` gives the rows that a stream of requests must become, `differences` compares one.
"""

import copy
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.contract.traffic.recordings import FOREIGN, Recorded

Json = dict[str, Any]

_NAMES = ("track", "page", "identify", "group", "alias", "screen")
_TYPES = {segment: name for name in _NAMES for segment in (name, name[0])}
_CLASSIC_TYPES = {"page_view": "page", "pageview": "page", "user_identify": "identify"}
_STAMPED = {"received_at", "_unmapped_data", "_stream"}
_SKEW_MIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Told:
    """One event: the row it must become, except what depends on when it was received."""

    request: Recorded
    event: Json
    row: Json

    @property
    def message_id(self) -> str | None:
        return self.row.get("message_id")


def told(requests: Iterable[Recorded]) -> list[Told]:
    """Every event once, as the first request that carried it said it: a retry repeats its messageId."""
    events: list[Told] = []
    seen: set[str] = set()
    for request in requests:
        for said in events_of(request):
            event = _stamped(said, request)
            row = _row(event)
            if (message_id := row.get("message_id")) not in seen:
                events.append(Told(request, event, row))
            if message_id:
                seen.add(message_id)
    return events


def events_of(request: Recorded) -> Iterator[Json]:
    """The events of a body; json.loads takes NaN and lone surrogates as SDKs send them."""
    if request.method != "POST" or request.sdk in FOREIGN:
        return
    body = json.loads(request.plain)
    if isinstance(body, list):
        yield from body
    elif "batch" in body:
        for item in body["batch"]:
            yield {"sentAt": body["sentAt"], **item}
    elif "series" not in body:  # metrics of the SDK itself are no events
        yield body


def _stamped(said: Json, request: Recorded) -> Json:
    event = _from_classic(said) if "event_type" in said else said
    event = {key: value for key, value in event.items() if key != "writeKey" and value != ""}
    event["requestIp"] = "127.0.0.1"
    if (kind := _TYPES.get(request.path.rpartition("/")[2])) is not None:
        event["type"] = kind
    if request.is_browser:
        seen = {"ip": "127.0.0.1", "userAgent": request.header("user-agent")}
        seen["locale"] = request.header("accept-language").split(",")[0].split(";")[0]
        event["context"] = (event.get("context") or {}) | seen
    return event


def _from_classic(said: Json) -> Json:
    """An event of Jitsu Classic; in compatibility mode its own fields lie below eventn_ctx. What has no place
    in an event of ours becomes properties.
    """
    rest = copy.deepcopy(said)
    rest.pop("api_key")
    own = rest.get("eventn_ctx", rest)
    user = own.get("user", {})
    event = {"messageId": own.pop("event_id", ""), "timestamp": own.get("utc_time"), "properties": rest}
    event |= {"userId": user.pop("id", ""), "anonymousId": user.pop("anonymous_id", "")}
    kind = _CLASSIC_TYPES.get(said["event_type"])
    return event | ({"type": kind} if kind else {"type": "track", "event": said["event_type"]})


def _row(event: Json) -> Json:
    """The layout segment-single-table: properties at the top, the event's own fields above them, context and
    traits with a prefix.
    """
    properties = dict(event.get("properties") or {})
    context = dict(event.get("context") or {})
    own = {key: value for key, value in event.items() if key not in ("properties", "context")}
    traits = dict(context.pop("traits", None) or {})
    match event["type"]:
        case "track":
            traits |= properties.pop("traits", None) or {}
        case "identify":
            traits |= own.pop("traits", None) or {}
        case "group":
            context["group"] = own.pop("traits", None)
            context["groupId"] = own.pop("groupId", None)
    context["traits"] = traits
    return dict(_leaves("", properties)) | dict(_leaves("", own)) | dict(_leaves("context_", context))


def _leaves(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        column = prefix + (_snake(key) or "_unnamed")
        if isinstance(value, dict):
            yield from _leaves(column + "_", value)
        elif (kept := _kept(value)) is not None:
            yield re.sub(r"[^\w $-]+", "_", column), kept


def _snake(key: str) -> str:
    split = re.sub(r"(?<=[A-Za-z])(?=[A-Z])", "_", _text(key)).replace(" ", "_")
    return "".join(char.lower() if char.isascii() else char for char in split)


def _kept(value: Any) -> Any:
    """A value as Postgres can hold it."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, dict):
        return {_snake(key) or "_unnamed": _kept(item) for key, item in value.items()}
    return value


def _text(value: str) -> str:
    return value.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def differences(event: Told, stored: Mapping[str, Any]) -> list[str]:
    """How a row of the table differs from what was told, in words."""
    expected = event.row | _times(event, stored["received_at"])
    found = json.loads(stored["_unmapped_data"] or "{}") if "_unmapped_data" in stored else {}
    found |= {name: value for name, value in stored.items() if value is not None and name not in _STAMPED}
    if event.message_id is None:
        assert UUID(found.pop("message_id")).version == 7
    names = sorted(expected.keys() | found.keys())
    return [
        f"{event.request.name}: {name}: sent {_short(expected.get(name))}, stored {_short(found.get(name))}"
        for name in names
        if not _same(expected.get(name), found.get(name))
    ]


def _short(value: Any) -> str:
    return repr(value)[:80]


def _times(event: Told, received_at: datetime) -> Json:
    """`timestamp`, put right by the clock of a browser; what it said stays in original_timestamp."""
    said = event.event.get("timestamp") or event.event.get("originalTimestamp")
    if said is None:
        return {"timestamp": received_at}
    moment = _moment(said)
    sent = event.event.get("sentAt") if event.request.is_browser else None
    skew = received_at - _moment(sent) if sent else timedelta()
    if abs(skew) < _SKEW_MIN:
        return {"timestamp": moment}
    original = event.event.get("originalTimestamp", said)
    return {"timestamp": min(moment + skew, received_at), "original_timestamp": original}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _same(said: Any, stored: Any) -> bool:
    """Whether a column holds what was said, whichever type the column got from the values before."""
    if isinstance(stored, datetime):
        return stored == (_moment(said) if isinstance(said, str) else said)
    if isinstance(stored, str) and said is not None and not isinstance(said, str):
        stored = json.loads(stored)
    return (type(said) is type(stored) and said == stored) or _number(said) == _number(stored) is not None


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
