"""Identifiers: from an event's keys to Postgres columns and tables. Pure; every function is cached, total
and idempotent.

Rules (reference: Jitsu Next): snake case puts `_` before an ASCII capital that follows a Latin letter,
lower-cases and turns spaces into `_`. An identifier keeps letters, their marks and digits of any language,
`_`, space, `$` and `-`; other runs become one `_` (without its marks a word of Hindi or Thai is another
word). What holds neither letter nor digit and cannot stay as it is becomes a hash. What is longer than
Postgres allows (63 bytes) is cut on a character boundary and ends in eight hex digits of the whole name's
hash, so two long names stay two columns. The names of Postgres's system columns get such an ending too.

Names of what Penstock makes for a table (indexes, partitions) hold a `:`, so no event can take them first.

A name that begins with `/` is no column: its value is kept under that name in `_unmapped_data`. No
identifier made here holds a `/`, so such a name can be no column's. What is longer than `KEY_CHARS_MAX` is
worked out anew each time: keys come from anyone, and the caches are bounded by count.
"""

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

NAME_BYTES_MAX = 63
KEY_CHARS_MAX = 256
"""Longer keys are not remembered, here or by any cache of the layouts."""

_HASH_HEX = 8
_CACHE_NAMES = 4_096
_ASIDE = "/"

_CAPITAL_AFTER_LETTER = re.compile(r"(?<=[A-Za-z])(?=[A-Z])")
_FORBIDDEN = re.compile(r"[^\w $-]+")
_UNDERSCORES = re.compile("_+")
_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


def snake_case(key: str) -> str:
    """messageId → message_id, userID → user_i_d, page1Url → page1url, User_Name → user_name."""
    return _known_snake_case(key) if len(key) <= KEY_CHARS_MAX else _snake_case(key)


def column_name(raw: str) -> str:
    """A name that Postgres takes, as given, for a column."""
    return _known_column_name(raw) if len(raw) <= KEY_CHARS_MAX else _column_name(raw)


def table_name(raw: str) -> str:
    """A name that Postgres takes, as given, for a table."""
    return _known_table_name(raw) if len(raw) <= KEY_CHARS_MAX else _table_name(raw)


def aside_name(path: str) -> str:
    """The name under which the value at this JSON pointer is kept aside; long ones end in a hash."""
    return path if len(path) <= KEY_CHARS_MAX else f"{path[:KEY_CHARS_MAX]}~{_hash(path)}"


def is_aside(raw: str) -> bool:
    """Whether the value of this name goes into no column."""
    return raw.startswith(_ASIDE)


def _snake_case(key: str) -> str:
    spaced = _CAPITAL_AFTER_LETTER.sub("_", key).replace(" ", "_")
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in spaced)


def _column_name(raw: str) -> str:
    name = _identifier(raw, "column")
    return f"{name}_{_hash(raw)}" if name in _SYSTEM_COLUMNS else name


def _table_name(raw: str) -> str:
    return _identifier(raw, "table")


_known_snake_case = lru_cache(_CACHE_NAMES)(_snake_case)
_known_column_name = lru_cache(_CACHE_NAMES)(_column_name)
_known_table_name = lru_cache(_CACHE_NAMES)(_table_name)


def quote(identifier: str) -> str:
    """Always quoted: case is kept and no word is reserved."""
    return '"' + identifier.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A string literal; right with standard_conforming_strings = on, which every session of ours sets."""
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def own_name(table: str, purpose: str) -> str:
    """A name for something of ours that belongs to a table; one for each table and purpose."""
    name = f"{table}:{purpose}"
    return (
        name if len(name.encode()) <= NAME_BYTES_MAX else f"{_cut(table, purpose)}_{_hash(table)}:{purpose}"
    )


def _cut(name: str, purpose: str = "") -> str:
    room = NAME_BYTES_MAX - _HASH_HEX - 1 - (len(purpose.encode()) + 1 if purpose else 0)
    return name.encode()[:room].decode(errors="ignore")


def _identifier(raw: str, kind: str) -> str:
    name = _FORBIDDEN.sub(_without_forbidden, raw)
    if not name or (name != raw and not any(map(str.isalnum, name))):
        return f"{kind}_{_hash(raw)}"
    return name if len(name.encode()) <= NAME_BYTES_MAX else f"{_cut(name)}_{_hash(raw)}"


def _without_forbidden(run: re.Match[str]) -> str:
    return _UNDERSCORES.sub("_", "".join(c if _is_mark(c) else "_" for c in run[0]))


def _is_mark(char: str) -> bool:
    """Whether it is part of the letter before it. Selectors of a letter's (or emoji's) looks are not."""
    return unicodedata.category(char) in ("Mn", "Mc") and not unicodedata.name(char, "").startswith(
        "VARIATION"
    )


def _hash(raw: str) -> str:
    return blake2b(raw.encode(errors="surrogatepass"), digest_size=_HASH_HEX // 2).hexdigest()
