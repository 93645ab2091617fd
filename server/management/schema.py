"""JSON Schema of every object, made from the types that check it, under the management API's names. Pure."""

import ast
import inspect
import json
import sys
import textwrap
from functools import cache
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec import Struct

from server.catalog import PARAMETERS, PUBLISHED_NAMES, SSL_MODES, Stream
from server.management.kinds import KINDS

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
SUBTYPES: Final = {"destination": ("postgres",), "link": ("postgres", "sync")}
"""A destination's are its types; a link's say whose options `data` holds: a destination's, or a sync's."""
_COMPONENTS: Final = {kind.name: kind.shape.__name__ for kind in KINDS.values()}
_LOCAL: Final = "#/$defs/{name}"


def catalogue() -> Schema:
    """Which schemas there are, and where."""
    schemas: list[Schema] = []
    for type_ in ("stream", "destination", "function", "service", "link"):
        said: Schema = {"type": type_, "schemaURL": f"/api/schema/{type_}"}
        if type_ in SUBTYPES:
            said["subTypes"] = {
                sub: {"type": sub, "schemaURL": f"/api/schema/{type_}/{sub}"} for sub in SUBTYPES[type_]
            }
        schemas.append(said)
    return {"schemas": schemas}


def schema_of(type_: str, sub: str | None = None) -> Schema | None:
    """The schema of a type of objects, whole; None if there is no such type."""
    if type_ not in _COMPONENTS or type_ in ("sync", "workspace"):
        return None
    if sub is not None and sub not in SUBTYPES.get(type_, ()):
        return None
    defs = components(_LOCAL)
    name = _COMPONENTS["sync" if sub == "sync" else type_]
    return {"$schema": DRAFT, **defs[name], "$defs": {used: defs[used] for used in _used(name, defs)}}


def components(ref_template: str) -> dict[str, Schema]:
    """Every schema by its name; `ref_template` says how one refers to another."""
    shapes = [kind.shape for kind in KINDS.values()]
    _, found = msgspec.json.schema_components(shapes, ref_template=ref_template)
    result = {name: _described(name, schema) for name, schema in found.items()}
    result["WriteKey"] = _write_key(result["WriteKey"])
    result["Stream"] = _stream(result["Stream"])
    result["Destination"] = _destination(result["Destination"], result.pop("Datasource"))
    for name in ("Link", "Sync"):
        result[name] = _renamed(result[name], PUBLISHED_NAMES["link"])
        result[f"{name}Data"] = {**result[f"{name}Data"], "additionalProperties": True}
    for kind, name in _COMPONENTS.items():
        result[name] = _answered(kind, result[name])
    return result


def _used(name: str, defs: dict[str, Schema]) -> list[str]:
    """The schemas that one refers to, and those that they do."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        text = json.dumps(defs[waiting.pop()])
        new = [other for other in defs if f'"#/$defs/{other}"' in text and other not in found]
        found += new
        waiting += new
    return sorted(found)


def _described(name: str, schema: Schema) -> Schema:
    """With what the source says of each field."""
    shape = getattr(sys.modules[Stream.__module__], name)
    said = _field_texts(shape)
    properties = {
        key: {"description": said[key], **value} if key in said else value
        for key, value in schema.get("properties", {}).items()
    }
    return {**schema, "description": _one_line(schema.get("description", "")), "properties": properties}


@cache
def _field_texts(shape: type[Struct]) -> dict[str, str]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(shape))).body[0]
    assert isinstance(definition, ast.ClassDef)
    names = {field.name: field.encode_name for field in msgspec.structs.fields(shape)}
    return {
        names[field.target.id]: _one_line(text.value.value)
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _renamed(schema: Schema, names: dict[str, str]) -> Schema:
    properties = {names.get(key, key): value for key, value in schema["properties"].items()}
    required = [names.get(key, key) for key in schema.get("required", ())]
    return {**schema, "properties": properties, "required": required}


def _write_key(schema: Schema) -> Schema:
    """What is sent of a key, and what comes back: its id and hint."""
    properties = schema["properties"]
    plaintext = {
        "type": "string",
        "minLength": 1,
        "maxLength": 126,
        "writeOnly": True,
        "description": "The secret; clients send id:plaintext. Kept as a keyed digest, never shown again.",
    }
    hash_ = {**properties["hash"], "writeOnly": True, "description": "The keyed digest of this very server."}
    said = "A write key. By its id alone, a key that is known keeps its secret."
    fields = {"id": properties["id"], "plaintext": plaintext, "hash": hash_, "hint": properties["hint"]}
    return {**schema, "description": said, "properties": fields}


def _stream(schema: Schema) -> Schema:
    schema = _renamed(schema, PUBLISHED_NAMES["stream"])
    properties = schema["properties"]
    text = {"type": "string", "minLength": 1, "maxLength": 256, "description": "id:secret, or any text."}
    for field in ("publicKeys", "privateKeys"):
        properties[field] = {**properties[field], "items": {"anyOf": [properties[field]["items"], text]}}
    origins = properties["authorizedJavaScriptDomains"]
    said = f"{origins['description']} Several are separated by commas."
    properties["authorizedJavaScriptDomains"] = {"type": "string", "default": "", "description": said}
    return schema


def _destination(schema: Schema, datasource: Schema) -> Schema:
    """A destination, flat: the fields of its datasource beside its own, or none of them."""
    schema = _renamed(schema, PUBLISHED_NAMES["destination"])
    flat = _renamed(datasource, PUBLISHED_NAMES["datasource"])
    properties = {key: value for key, value in schema["properties"].items() if key != "datasource"}
    for name in PARAMETERS:
        properties[name] = {"type": "string", "description": "A path on the server's machine, or PEM text."}
    properties["sslMode"] = {"enum": list(SSL_MODES), "description": "As libpq's sslmode. Default: prefer."}
    nowhere = dict.fromkeys((*flat["properties"], *PARAMETERS), False)
    embedded = {"required": ["embedded"], "properties": {"embedded": {"const": True}, **nowhere}}
    own = {"required": flat["required"], "properties": {"embedded": {"const": False}, "schema": False}}
    return {**schema, "properties": {**properties, **flat["properties"]}, "anyOf": [own, embedded]}


def _answered(kind: str, schema: Schema) -> Schema:
    """With the fields that every answer has; the server makes an id if none is sent."""
    type_ = {"link": "push"}.get(kind, kind)
    shown: Schema = {"id": schema["properties"]["id"]}
    if kind != "workspace":
        shown["type"] = {"const": type_}
        shown["workspaceId"] = {"type": "string", "readOnly": True}
        shown["provisioned"] = {"type": "boolean", "readOnly": True}
        for name in ("createdAt", "updatedAt"):
            shown[name] = {"type": "string", "format": "date-time", "readOnly": True}
    required = [name for name in schema.get("required", ()) if name != "id"]
    return {**schema, "properties": {**shown, **schema["properties"]}, "required": required}
