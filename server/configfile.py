"""Reading a configuration: the file, the environment over it, the flags over both; one tree of plain values
comes out.

Invariant: nothing is dropped silently: a key given twice, an unset variable, a variable that names nothing
are all faults. Settings that came from text (an environment variable, `${env.NAME}`) are read as what the
setting's type asks for.
"""

import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from server.catalog import Fault, fault_path

PREFIX = "PENSTOCK__"
_FLAGS = {"server.host": "--host", "server.port": "--port", "store.path": "--data"}
_DEPTH_MAX = 100
_VALUES_MIN = 100_000
"""So many values may come of any file, and of a longer one as many as it has characters: an alias stands for
all that it names, and a few lines of them for more than fits in memory."""
_REFERENCE = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)(?:\|([^}]*))?\}")


class FromText(str):
    """A value that was text where it came from, whatever type the setting has."""

    __slots__ = ()


@dataclass(slots=True)
class Layers:
    """The merged tree, where of it what does not come from the file (path → variable or flag), and the faults
    found while it was read.
    """

    tree: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def read_layers(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Layers:
    """Read everything. Flags are given by dotted path (`server.port`). Raises nothing: faults are in the
    result.
    """
    layers = Layers()
    if path is not None:
        _read_file(path, environ, layers)
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX):
            _put(layers, name[len(PREFIX) :].split("__"), value, name)
    for dotted, value in flags.items():
        _put(layers, dotted.split("."), value, _FLAGS.get(dotted, f"flag for {dotted}"))
    return layers


def coerce(value: Any, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """The tree with every `FromText` read as the type its place in the JSON Schema asks for, and 5.0 as 5
    where that is a whole number.
    """
    schema = _followed(schema, definitions)
    if isinstance(value, FromText):
        return _read_text(str(value), schema)
    if isinstance(value, float) and value.is_integer():
        whole = any(way.get("type") == "integer" for way in schema.get("anyOf", [schema]))
        return int(value) if whole else value
    schema = _branch(schema, definitions, "object" if isinstance(value, dict) else "array")
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        inner = {key: properties.get(key, others if isinstance(others, dict) else {}) for key in value}
        return {key: coerce(item, inner[key], definitions) for key, item in value.items()}
    if isinstance(value, list):
        items = schema.get("items", {})
        return [coerce(item, items if isinstance(items, dict) else {}, definitions) for item in value]
    return value


def _read_file(path: Path, environ: Mapping[str, str], layers: Layers) -> None:
    try:
        text = path.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader(environ, layers.faults, max(_VALUES_MIN, len(text)))
        tree = reader.read(node, []) if node is not None else {}
    except OSError as error:
        layers.faults.append(Fault(str(path), f"cannot be read: {error.strerror}", _unread(path, error)))
        return
    except (_ExcessError, RecursionError):
        message = f"is nested more than {_DEPTH_MAX} deep, or its aliases stand for too many values"
        layers.faults.append(Fault(str(path), message, "write it without aliases (*name)"))
        return
    except UnicodeDecodeError:
        layers.faults.append(Fault(str(path), "is not UTF-8 text"))
        return
    except yaml.YAMLError as error:
        layers.faults.append(Fault(str(path), " ".join(str(error).split()), "correct the YAML"))
        return
    if isinstance(tree, dict):
        layers.tree = tree
    else:
        layers.faults.append(Fault(str(path), "must be a mapping of sections (server, store, streams …)"))


def _unread(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError) and (owner := owner_of(path)):
        return f"it belongs to {owner}: run this as that user, or choose another with --data or --conf"
    return "give the file with --conf"


def owner_of(path: Path) -> str:
    """Name or number of the user whose file it is; empty if nobody can say."""
    try:
        uid = path.stat().st_uid
        return pwd.getpwuid(uid).pw_name
    except OSError:
        return ""
    except KeyError:
        return f"uid {uid}"


class _ExcessError(Exception):
    """More than a configuration can be."""


class _Reader:
    """YAML nodes → plain values; sees what a ready-made loader hides: keys given twice."""

    def __init__(self, environ: Mapping[str, str], faults: list[Fault], values_max: int) -> None:
        self._environ = environ
        self._left = values_max
        self._faults = faults
        self._constructor = yaml.SafeLoader("")

    def read(self, node: yaml.Node, path: list[str | int]) -> Any:
        self._left -= 1
        if self._left < 0 or len(path) > _DEPTH_MAX:
            raise _ExcessError
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, [*path, index]) for index, item in enumerate(node.value)]
        value = self._constructor.construct_object(node, deep=True)
        return self._expand(value, path) if isinstance(value, str) else value

    def _mapping(self, node: yaml.MappingNode, path: list[str | int]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = [*path, key]
            if key in result:
                line = key_node.start_mark.line + 1
                self._faults.append(
                    Fault(fault_path(here), f"is given twice (again in line {line})", "keep one")
                )
            result[key] = self.read(value_node, here)
        return result

    def _expand(self, text: str, path: list[str | int]) -> str:
        """Put environment variables in the place of `${env.NAME}` and `${env.NAME|default}`."""

        def value_of(match: re.Match[str]) -> str:
            name: str = match.group(1)
            default: str | None = match.group(2)
            value = self._environ.get(name, default)
            if value is None:
                hint = f"export {name}=…, or write ${{env.{name}|a default}}"
                self._faults.append(Fault(fault_path(path), f"environment variable {name} is not set", hint))
                return ""
            return value

        return FromText(_REFERENCE.sub(value_of, text)) if _REFERENCE.search(text) else text


def _put(layers: Layers, parts: list[str], value: str, source: str) -> None:
    """Set one leaf; names are matched without regard to case, because variables are written in capitals."""
    node, path = layers.tree, list[str]()
    for part in parts[:-1]:
        name = _existing(node, part)
        path.append(name)
        node.setdefault(name, {})
        child: object = node[name]
        if not isinstance(child, dict):
            layers.sources[source] = source
            layers.faults.append(Fault(source, "names something inside a setting that has no parts"))
            return
        node = child
    if not all(parts):
        layers.sources[source] = source
        layers.faults.append(Fault(source, "names no setting", f"write {PREFIX}SECTION__KEY"))
        return
    name = _existing(node, parts[-1])
    node[name] = FromText(value)
    layers.sources[fault_path([*path, name])] = source


def _existing(node: Mapping[str, Any], name: str) -> str:
    return next((key for key in node if key.lower() == name.lower()), name.lower())


def _read_text(text: str, schema: Mapping[str, Any]) -> Any:
    """Text as a number, truth value, list or mapping if that is what is asked for and what it is; else as it
    is.
    """
    types = set(_types(schema))
    if not types or "string" in types:
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return text


def _types(schema: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in schema:
        yield "string"
    if isinstance(schema.get("type"), str):
        yield schema["type"]
    for branch in schema.get("anyOf", ()):
        yield from _types(branch)


def _branch(schema: Mapping[str, Any], definitions: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Of what may also be nothing: the alternative that a mapping or a list is held to."""
    branches = (_followed(branch, definitions) for branch in schema.get("anyOf", ()))
    return next((branch for branch in branches if branch.get("type") == kind), schema)


def _followed(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema
