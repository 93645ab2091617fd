"""Tables that an event names: by `JITSU_TABLE_NAME`, or by the link's `tableNameTemplate`. Pure; any thread.

Grammar of a template (server/catalog checks it): text with places for values, each written `{{.path}}`, where
a path is keys joined by dots (`{{.type}}`, `{{.context.page.host}}`) into the event as it is delivered: names
of the protocol, not of columns. A value goes in in lower case, what is neither letter nor digit as `_`; so
`{{.event}}` makes `order_done` of "Order Done". A text, number or truth value is one; if there is none
(absent, null, empty, an object, an array) the template names no table, and the layout's own table takes the
event.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from server.warehouse import table_name

from .parts import TABLE_KEY

_PLACE: Final = re.compile(r"\{\{\s*((?:\.[^{}.\s]+)+)\s*\}\}")
_NO_LETTER: Final = re.compile(r"\W")
_VALUE_CHARS_MAX: Final = 200

_Path = tuple[str, ...]


class TableNames:
    """What one link makes of the names in its events. `template` None: only JITSU_TABLE_NAME counts."""

    __slots__ = ("_constant", "_parts")

    def __init__(self, template: str | None = None) -> None:
        self._constant = constant_of(template) if template else None
        self._parts = _parts_of(template) if template and self._constant is None else None

    def of(self, event: Mapping[str, Any]) -> str | None:
        """The legal name of the table that the event names, None if it names none."""
        if TABLE_KEY in event:
            named = event[TABLE_KEY]
            if named and type(named) is str:
                return table_name(named)
        return self._constant if self._parts is None else _filled(self._parts, event)


def constant_of(template: str) -> str | None:
    """The table of a template without places; None if events have a say in it."""
    return None if _PLACE.search(template) else table_name(template)


def _parts_of(template: str) -> list[str | _Path]:
    """Text and paths by turns."""
    pieces = _PLACE.split(template)
    return [tuple(piece[1:].split(".")) if at % 2 else piece for at, piece in enumerate(pieces)]


def _filled(parts: list[str | _Path], event: Mapping[str, Any]) -> str | None:
    texts: list[str] = []
    for part in parts:
        text = part if isinstance(part, str) else _value_at(part, event)
        if text is None:
            return None
        texts.append(text)
    return table_name("".join(texts))


def _value_at(path: _Path, event: Any) -> str | None:
    for key in path:
        if type(event) is not dict:
            return None
        event = event.get(key)
    if type(event) not in (str, int, float, bool) or event == "":
        return None
    return _spelt(str(event)[:_VALUE_CHARS_MAX])


@lru_cache(4_096)
def _spelt(text: str) -> str:
    return _NO_LETTER.sub("_", text.lower())
