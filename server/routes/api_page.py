"""The OpenAPI document as a page: plain HTML without a script, nothing loaded from anywhere. Pure."""

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any, Final

Schema = dict[str, Any]

_STYLE: Final = """
:root { --ink: #1c2430; --soft: #5d6b7e; --line: #dfe5ec; --ground: #f6f8fa; --card: #fff;
  --accent: #0b62c4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ef; --soft: #94a3b5; --line: #2c3643; --ground: #12171e; --card: #1a212b;
    --accent: #6cb0ff; }
}
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { position: fixed; inset: 0 auto 0 0; width: 250px; padding: 24px 20px; overflow-y: auto;
  border-right: 1px solid var(--line); background: var(--card); }
nav b { display: block; font-size: 19px; margin-bottom: 14px; }
nav a { display: block; padding: 4px 0; color: var(--ink); }
main { margin-left: 250px; padding: 28px 40px 80px; max-width: 1080px; }
h1 { margin: 0; font-size: 27px; }
h2 { margin: 42px 0 10px; font-size: 19px; }
p { margin: 6px 0 12px; }
.soft { color: var(--soft); }
details { margin: 6px 0; border: 1px solid var(--line); border-radius: 8px; background: var(--card); }
summary { display: flex; gap: 12px; align-items: baseline; padding: 8px 12px; cursor: pointer;
  list-style: none; }
summary::-webkit-details-marker { display: none; }
summary .soft { margin-left: auto; text-align: right; }
.method { flex: 0 0 62px; text-align: center; border-radius: 5px; padding: 1px 0;
  font: 700 12px/1.6 monospace;
  color: #fff; background: #64748b; }
.get { background: #1d76c9; } .post { background: #1b8a53; } .put { background: #b26a00; }
.delete { background: #c23b3b; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
.inner { padding: 4px 16px 14px; border-top: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; }
td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { white-space: nowrap; }
h3 { margin: 14px 0 4px; font-size: 12px; color: var(--soft); text-transform: uppercase;
  letter-spacing: .05em; }
pre { margin: 6px 0; padding: 10px 12px; overflow-x: auto; border-radius: 6px; background: var(--ground); }
@media (max-width: 760px) {
  nav { position: static; width: auto; border: 0; }
  main { margin: 0; padding: 20px; }
  summary { flex-wrap: wrap; }
}
"""


def page(document: Schema) -> str:
    """The whole page."""
    info = document["info"]
    tags = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in (*tags, "Objects in detail"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<nav><b>{escape(info['title'])}</b>{links}</nav><main><h1>{escape(info['title'])} API</h1>"
        f'<p>{escape(info["description"])}</p><p class="soft">Version {escape(info["version"])} · the same '
        'for programs: <a href="/api/openapi.json">/api/openapi.json</a> (OpenAPI 3.1), '
        '<a href="/api/schema">/api/schema</a> (JSON Schema)</p>'
        f"{_ways_in(document)}{''.join(_section(document, tag) for tag in tags)}{_objects(document)}"
        "</main></body></html>"
    )


def _ways_in(document: Schema) -> str:
    rows = (
        (name, f"{scheme.get('in', 'Authorization')}: {scheme.get('name', scheme.get('scheme'))}", scheme)
        for name, scheme in document["components"]["securitySchemes"].items()
    )
    cells = (
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(where)}</td>"
        f'<td class="soft">{escape(scheme.get("description", ""))}</td></tr>'
        for name, where, scheme in rows
    )
    table = f"<table>{''.join(cells)}</table>"
    return f'<details><summary>Ways to say who asks</summary><div class="inner">{table}</div></details>'


def _section(document: Schema, tag: str) -> str:
    parts = [
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]
    return f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>{"".join(parts)}'


def _operation(document: Schema, path: str, method: str, operation: Schema) -> str:
    return (
        f'<details><summary><span class="method {method}">{method.upper()}</span><code>{escape(path)}</code>'
        f'<span class="soft">{escape(operation["summary"])}</span></summary><div class="inner">'
        f"{''.join(_inner(document, operation))}</div></details>"
    )


def _inner(document: Schema, operation: Schema) -> Iterator[str]:
    if operation.get("description"):
        yield f"<p>{escape(operation['description'])}</p>"
    ways = " or ".join(f"<code>{escape(name)}</code>" for way in operation["security"] for name in way)
    yield f"<p class='soft'>Who may: {ways or 'anybody'}</p>"
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(item['name'])}</code></td><td>{item['in']}</td>"
            f"<td>{escape(item.get('description', ''))}</td></tr>"
            for item in operation["parameters"]
        )
        yield f"<h3>Parameters</h3><table>{rows}</table>"
    for content_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<h3>Body, {escape(content_type)}</h3>{_schema(document, content['schema'])}"
    yield "<h3>Answers</h3><table>"
    for status, answer in operation["responses"].items():
        schemas = [content["schema"] for content in answer["content"].values()]
        shown = _schema(document, schemas[0]) if status.startswith("2") else ""
        yield f"<tr><td><code>{status}</code> {escape(answer['description'])}</td><td>{shown}</td></tr>"
    yield "</table>"


def _schema(document: Schema, schema: Schema) -> str:
    """A schema in a word if it has a name, else as it is."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_schema(document, one) for one in schema["anyOf"])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_schema(document, schema['items'])}"
    if "properties" in schema:
        fields = (
            f"<tr><td><code>{escape(name)}</code></td><td>{_schema(document, inner)}</td></tr>"
            for name, inner in schema["properties"].items()
        )
        return f"<table>{''.join(fields)}</table>"
    if "enum" in schema:
        return " · ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    words = schema.get("const", schema.get("type", "anything"))
    return escape(" or ".join(words) if isinstance(words, list) else str(words))


def _objects(document: Schema) -> str:
    parts = [f'<h2 id="{_anchor("Objects in detail")}">Objects in detail</h2>']
    for name, schema in document["components"]["schemas"].items():
        required = schema.get("required", ())
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code>{' *' if field in required else ''}</td>"
            f"<td>{_schema(document, inner)}{_default(inner)}</td>"
            f"<td>{escape(inner.get('description', ''))}</td></tr>"
            for field, inner in schema.get("properties", {}).items()
        )
        parts.append(
            f'<details id="{_anchor(name)}" open><summary><b>{escape(name)}</b></summary><div class="inner">'
            f"<p>{escape(schema.get('description', ''))}</p><table>{rows}</table></div></details>"
        )
    return "".join(parts)


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return ""
    return f' <span class="soft">default <code>{escape(json.dumps(schema["default"]))}</code></span>'


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower())
