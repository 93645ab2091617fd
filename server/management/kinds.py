"""The kinds of objects that the management API changes: the type of each, and the names of its fields.

A link from a service is a `sync`: a kind of its own here, one list with the links outside. Pure.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct

from server.catalog import (
    PUBLISHED_NAMES,
    Destination,
    Fault,
    Function,
    Link,
    Service,
    Stream,
    Sync,
    Workspace,
    normalize_destination,
    normalize_link,
    normalize_stream,
    published_destination,
    published_link,
    published_stream,
    schema_faults,
)
from server.management.errors import Conflict

_RESERVED_WORKSPACES: Final = frozenset(
    {"v1", "s", "px", "schema", "user", "admin", "workspace", "docs", "openapi.json"}
)
_ANSWERED = ("workspaceId", "createdAt", "updatedAt", "provisioned", "testConnectionError", "cloneId")
"""Fields of answers that say nothing when they come back."""
LINK_TYPES: Final = {"link": "push", "sync": "sync"}
"""What answers call the two kinds of links."""
_PLACE: Final = re.compile(r"(.*) - at `\$\.?(.*)`")
"""How msgspec says what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`section` is where the configuration has its objects, None if it has none; `normalize` brings other
    names to ours and `publish` back; `names` are the published ones that differ.
    """

    name: str
    shape: type[Struct]
    section: str | None = None
    normalize: Callable[[object], object] = lambda body: body
    publish: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    names: Mapping[str, str] = field(default_factory=dict)


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("stream", Stream, "streams", normalize_stream, published_stream, PUBLISHED_NAMES["stream"]),
        Kind(
            "destination",
            Destination,
            "destinations",
            normalize_destination,
            published_destination,
            PUBLISHED_NAMES["destination"],
        ),
        Kind("function", Function),
        Kind("service", Service),
        Kind("link", Link, "links", normalize_link, published_link, PUBLISHED_NAMES["link"]),
        Kind("sync", Sync, None, normalize_link, published_link, PUBLISHED_NAMES["link"]),
        Kind("workspace", Workspace),
    )
}
_EXACT_MAX: Final = 2**53
_SCHEMAS: Final = {name: msgspec.json.schema(kind.shape) for name, kind in KINDS.items()}
_OPTIONS: Final = {
    name: {field.encode_name for field in msgspec.structs.fields(KINDS[name].shape.__annotations__["data"])}
    for name in LINK_TYPES
}


def normalized(kind: str, workspace: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller sent, under our names, without what only answers say."""
    rest = {key: value for key, value in body.items() if key not in _ANSWERED}
    if rest.get("type") in (kind, LINK_TYPES.get(kind)):
        rest.pop("type", None)  # another one stays, a field that is not known
    if kind == "destination" and rest.get("authenticationMethod") == "password":
        del rest["authenticationMethod"]
    if kind != "workspace" and body.get("workspaceId", workspace) != workspace:
        rest["workspaceId"] = body["workspaceId"]  # a field that is not known: it is said so
    result = KINDS[kind].normalize(rest)
    assert isinstance(result, dict)
    return result


def shaped(kind: str, id_: str, body: Mapping[str, Any]) -> Struct | list[Fault]:
    """An object as its type; or every fault of its shape, with paths as the caller knows them. Options of a
    link that are not known are left out.
    """
    value = {**body, "id": id_}
    if kind in _OPTIONS and isinstance(value.get("data"), dict):
        value["data"] = {key: item for key, item in value["data"].items() if key in _OPTIONS[kind]}
    faults = [published_fault(kind, fault) for fault in schema_faults(value, _SCHEMAS[kind])]
    if faults:
        return faults
    try:
        return msgspec.convert(_whole(value), KINDS[kind].shape)
    except msgspec.ValidationError as error:
        found = _PLACE.fullmatch(str(error))
        message, path = found.groups() if found else (str(error), "")
        return [published_fault(kind, Fault(path, message))]


def refuse_reserved(kind: str, *words: object) -> None:
    """A workspace is not called like a part of the API's own paths. Raises Conflict."""
    for word in words:
        if kind == "workspace" and isinstance(word, str) and word in _RESERVED_WORKSPACES:
            raise Conflict("RESERVED", f"{word} is a word of the API's own paths")


def _whole(value: Any) -> Any:
    """5.0 is a whole number to JSON Schema, as 5 is."""
    if isinstance(value, Mapping):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    exact = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_MAX
    return int(value) if exact else value


def unknown_options(kind: str, body: Mapping[str, Any]) -> list[Fault]:
    """The options of a link that mean nothing here: faults only if the caller asked to be strict."""
    known = _OPTIONS.get(kind)
    data = body.get("data")
    if known is None or not isinstance(data, dict):
        return []
    return [Fault(f"data.{key}", "is not a known option") for key in data if key not in known]


def complete(value: Struct, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with every default filled in, and with the options of a link that are not known."""
    result: dict[str, Any] = msgspec.to_builtins(value)
    del result["id"]
    if isinstance(body.get("data"), dict):
        result["data"] = {**body["data"], **result["data"]}
    return result


def relative_fault(kind: str, id_: str, fault: Fault) -> Fault:
    """A fault of a whole configuration as one of the object, if it is one."""
    prefix = f"{KINDS[kind].section}.{id_}"
    rest = fault.path.removeprefix(prefix)
    if rest == fault.path or rest[:1] not in ("", "."):
        return fault
    return published_fault(kind, Fault(rest.removeprefix("."), fault.message, fault.hint))


def published_fault(kind: str, fault: Fault) -> Fault:
    """A fault with the name of the field as it is published."""
    path, names = fault.path, KINDS[kind].names
    if kind == "destination" and path.startswith("datasource."):
        path, names = path.removeprefix("datasource."), PUBLISHED_NAMES["datasource"]
    first, dot, rest = path.partition(".")
    name, bracket, index = first.partition("[")
    return Fault(f"{names.get(name, name)}{bracket}{index}{dot}{rest}", fault.message, fault.hint)
