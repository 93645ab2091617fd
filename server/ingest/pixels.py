"""Pixels: from the query of an image request to one event as JSON, for `decode_event` or `decode_classic`.

All of them may carry a whole event in `data` (JSON, in base64 or plain), and single fields in other
parameters, which win over it: a dotted name is a path into the event, its value a text. Invariant: any text
gives bytes or a Refusal; nothing raises; work is linear in the query. Pure, any thread.
"""

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import unquote, unquote_plus

import msgspec

from server.ingest.bodies import is_array
from server.ingest.lenient import Repairs, UnreadableError, encode, parse
from server.ingest.values import Event, Refusal

PixelDialect = Literal["segment", "jitsu", "classic"]

PARAMETERS_MAX: Final = 1_000
"""Parameters of one pixel; more are refused."""

PATH_PARTS_MAX: Final = 32
"""Parts of a dotted name; the dots beyond belong to the last part."""

_KEYS: Final = frozenset({"writeKey", "writekey", "wk"})
# What is meant for the server, not for the event.
_DIRECTIVES: Final[Mapping[PixelDialect, frozenset[str]]] = {
    "segment": _KEYS | {"cb"},
    "jitsu": _KEYS | {"process_headers", "cookie_domain", "destination_url"},
    "classic": _KEYS | {"token", "api_key", "compat", "cookie_policy", "ip_policy"},
}
# Datafly's short names, on the same path as Segment's pixel.
_SHORT: Final = {"uid": "userId", "aid": "anonymousId", "ts": "timestamp", "mid": "messageId"}
_SHORT_PARTS: Final = {"p": "properties", "t": "traits"}
_MOMENT_DIGITS_MAX: Final = 15


def pixel_event(dialect: PixelDialect, path_type: str | None, query_string: str) -> bytes | Refusal:
    """The event that a pixel's query says, as JSON: not checked yet, and with the credentials of `data`.

    `dialect`: "segment" takes Segment's names and Datafly's short ones (`e,uid,aid,p.*,t.*,ts,mid`); "jitsu"
    is /api/px/{type}; "classic" is p.gif, and its event is a classic one. `path_type` says whether `e` is the
    name of an event or of a page. A name that is repeated makes a list. Refused as `bad_request`: a `data`
    that cannot be read, names that contradict each other, more than `PARAMETERS_MAX` parameters.
    """
    if not query_string.isascii():
        query_string = query_string.encode("utf-8", "replace").decode()  # perhaps half a surrogate pair
    pairs = query_string.split("&", PARAMETERS_MAX)
    if len(pairs) > PARAMETERS_MAX:
        return Refusal("bad_request", f"the pixel has more than {PARAMETERS_MAX} parameters")
    data = ""
    fields: dict[str, list[str]] = {}
    directives = _DIRECTIVES[dialect]
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name == "data":
            data = value
        elif name and name not in directives and not (dialect == "classic" and name.startswith("p_")):
            fields.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    body = _decoded(data)
    if isinstance(body, Refusal) or (body and not fields and dialect != "classic"):
        return body
    event = _parsed(body)
    if isinstance(event, Refusal):
        return event
    if dialect == "classic":
        _complete_classic(event)
    return _merged(event, fields, dialect, path_type)


def _decoded(data: str) -> bytes | Refusal:
    """The text in a `data`: base64 of either alphabet, padded or not, or JSON as it is. Empty if it is."""
    text = unquote(data) if "%" in data else data
    if text.startswith("{"):
        return text.encode()
    # A plus that was not escaped is a space to many who handle queries.
    plain = text.replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=")
    try:
        body = msgspec.convert(plain + "===="[: -len(plain) % 4], bytes)  # four times as fast as binascii
    except msgspec.ValidationError:
        return Refusal("bad_request", "data is not base64")
    return Refusal("bad_request", "data must be an object") if is_array(body) else body


def _parsed(body: bytes) -> Event | Refusal:
    if not body:
        return {}
    try:
        event = parse(body, Repairs())
    except UnreadableError as error:
        return Refusal("bad_request", f"data is not JSON: {error}")
    return event if type(event) is dict else Refusal("bad_request", "data must be an object")


def _complete_classic(event: Event) -> None:
    """Where a classic pixel says its key, and that it is one."""
    token = event.pop("token", None)
    if token is not None:
        event.setdefault("api_key", token)
    event.setdefault("src", "jitsu_gif")


def _merged(
    event: Event, fields: dict[str, list[str]], dialect: PixelDialect, path_type: str | None
) -> bytes | Refusal:
    """`event` with the fields of the query."""
    for name, values in fields.items():
        value: object = values[0] if len(values) == 1 else values
        path = name.split(".", PATH_PARTS_MAX - 1)
        if dialect == "segment":
            path = _long_names(path, path_type)
            if name == "ts" and values[0].isdecimal() and len(values[0]) <= _MOMENT_DIGITS_MAX:
                value = int(values[0])
        if not _put(event, path, value):
            return Refusal("bad_request", f"{name[:64]} contradicts another name of the pixel")
    return encode(event)


def _long_names(path: list[str], path_type: str | None) -> list[str]:
    """The path that one of Datafly's short names stands for, and any other as it is."""
    if len(path) > 1:
        return [_SHORT_PARTS.get(path[0], path[0]), *path[1:]]
    if path[0] == "e":
        return ["name" if path_type in ("page", "screen") else "event"]
    return [_SHORT.get(path[0], path[0])]


def _put(event: Event, path: list[str], value: object) -> bool:
    """Sets the value at `path`; False if there is no place for it."""
    *above, last = path
    for part in above:
        event = event.setdefault(part, {})
        if type(event) is not dict:
            return False
    if type(event.get(last)) is dict:
        return False
    event[last] = value
    return True
