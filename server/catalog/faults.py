"""Faults: everything that is wrong with a document, each with its path, never only the first one.

msgspec stops at the first fault, so its JSON Schema of the same types is what finds them all. Values of
secret fields, and what may hold such, are left out of messages.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.catalog.objects import LINE
from server.catalog.secrecy import is_secret

_KEYS = frozenset({"browser_keys", "server_keys", "publicKeys", "privateKeys"})
VALUE_CHARACTERS_MAX = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (`streams.site.browser_keys[0]`), what, and what to do about it."""

    path: str
    message: str
    hint: str = ""
    parts: tuple[str | int, ...] = field(default=(), compare=False)
    """The path in pieces, where the fault is one of shape."""

    def __str__(self) -> str:
        said = f"{self.path}: {self.message}" if self.path else self.message
        return f"{said} ({self.hint})" if self.hint else said


def fault_path(parts: Sequence[str | int]) -> str:
    """A path as a reader of the file would write it."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def schema_faults(value: object, schema: dict[str, Any]) -> Iterator[Fault]:
    """Every way in which a document differs from a JSON Schema."""
    import jsonschema_rs  # only needed when something is checked

    for error in jsonschema_rs.validator_for(schema).iter_errors(value):
        yield from _explain(error, schema)


def _explain(error: Any, schema: dict[str, Any]) -> Iterator[Fault]:
    path = list(error.instance_path)
    kind = type(error.kind).__name__.rpartition("_")[2]
    if kind == "AdditionalProperties":
        known = list(_resolve(schema, list(error.schema_path)[:-1]).get("properties", {}))
        for name in error.kind.unexpected:
            yield _fault([*path, name], "is not a known setting", _suggestion(name, known))
    elif kind == "Required":
        yield _fault([*path, error.kind.property], "is missing")
    elif kind == "AnyOf" and (inner := _inner(error)):
        for fault in inner:
            yield from _explain(fault, schema)
    else:
        yield _fault(path, _message(error, kind, path))


def _fault(path: list[str | int], message: str, hint: str = "") -> Fault:
    return Fault(fault_path(path), message, hint, tuple(path))


def _inner(error: Any) -> list[Any]:
    """The faults inside the alternative that was meant: the one that fails deeper than at its type."""
    for branch in error.kind.context:
        if all(
            type(fault.kind).__name__.rpartition("_")[2] != "Type"
            or fault.instance_path != error.instance_path
            for fault in branch
        ):
            return list(branch)
    return []


def _message(error: Any, kind: str, path: list[str | int]) -> str:
    given = _given(error, kind, path)
    if kind == "Type":
        if path and path[-2:-1] in (["browser_keys"], ["server_keys"]):
            return "must be a key: a text (in quotes), or {id, plaintext}"
        return f"must be {_types(error.kind.types)}, not {given}"
    if kind == "Enum":
        return f"must be one of {', '.join(map(str, error.kind.options))}, not {given}"
    if kind == "AnyOf":
        return f"{given} is of a type that does not fit"
    limits = {"Minimum": "at least", "Maximum": "at most", "ExclusiveMinimum": "more than"}
    if kind in limits:
        return f"must be {limits[kind]} {error.kind.limit:.12g}, not {given}"
    if kind == "MinLength":
        return "must not be empty"
    if kind == "MaxLength":
        return f"must have at most {error.kind.limit} characters"
    if kind == "Pattern" and error.kind.pattern == LINE:
        return "must not have control characters in it"
    if kind == "Pattern":
        return f"{given} may not be used: letters, digits, dot, dash and underscore only, at most 64"
    return str(error.message)


def _given(error: Any, kind: str, path: list[str | int]) -> str:
    """What was given, as far as it may be shown. Of what is not a plain value, or stands where a mapping
    belongs (a URL for a datasource), only what it is: there may be a secret in it.
    """
    value = error.instance
    if any(part in _KEYS or is_secret(str(part)) for part in path):
        return "the value"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, str) and (kind == "AnyOf" or (kind == "Type" and "object" in error.kind.types)):
        return "a text"
    return _shown(value)


def _types(types: Sequence[str]) -> str:
    words = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a text (in quotes)",
        "boolean": "true or false",
    }
    words |= {"array": "a list", "object": "a mapping", "null": "nothing"}
    return " or ".join(words.get(name, name) for name in types)


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 1] + "…"


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(sorted(known))}" if known else ""


def _resolve(schema: dict[str, Any], path: list[str | int]) -> dict[str, Any]:
    """The sub-schema that an error names; the path starts at the root and needs no reference followed."""
    node: Any = schema
    for part in path:
        node = node[part]
    found: dict[str, Any] = node
    return found
