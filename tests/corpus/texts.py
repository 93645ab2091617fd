"""Texts and names that break things, as JSON text."""

import json
from typing import Final

_PLAIN: Final = {
    "empty": "",
    "a space": " ",
    "white space": "\t\r\n\u2028\u2029\u0085\u00a0\u3000",
    "control characters": "".join(map(chr, range(1, 32))),
    "delete": "\x7f\x80\x9f",
    "byte order mark": "\ufeffhello\ufeff",
    "right to left": "שלום עולם مرحبا",
    "overrides": "a\u202eb\u202dc\u2066d\u2069",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e",
    "combining": "Z\u0351\u036b\u0343a\u0328l\u0335g\u0321o\u0336",
    "decomposed": "e\u0301 \u1100\u1161",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪1️⃣",
    "astral": "\U0001f600\U00020000\U0010ffff",
    "noncharacters": "\ufffe\uffff\ufdd0",
    "private use": "\ue000\U000f0000",
    "replacement": "\ufffd",
    "quotes": "'\"`´«»",
    "backslashes": "\\ \\\\ \\n \\x41 \\u0041 \\",
    "SQL": "'; DROP TABLE events; --",
    "SQL with dollars": "$$; SELECT 1; $$",
    "end of COPY": "\\.\n\\.",
    "NULL of COPY": "\\N",
    "percent": "%s %d %% %n {} {0}",
    "template": "{{.event}} ${x} #{y} <%= z %>",
    "HTML": "<script>alert(1)</script>&amp;",
    "JSON": '{"a": [1, 2]}',
    "broken JSON": '{"a": ',
    "array of Postgres": "{1,2,NULL}",
    "null in words": "null",
    "undefined": "undefined",
    "NaN": "NaN",
    "infinity": "Infinity",
    "hexadecimal": "0x1F",
    "digits of another script": "٣٤٥",
    "leading zeros": "007",
    "exponent": "1e5",
    "long": "x" * 900_000,
    "long of many bytes": "😀" * 60_000,
    "many lines": "line\n" * 10_000,
}

TEXTS: Final[list[tuple[str, str, str]]] = [
    *((name, json.dumps(text, ensure_ascii=False), text) for name, text in _PLAIN.items()),
    *((f"{name}, escaped", json.dumps(text), text) for name, text in list(_PLAIN.items())[:20]),
    ("NUL", '"a\\u0000b"', "ab"),
    ("nothing but NUL", '"\\u0000"', ""),
    ("high surrogate", '"a\\ud83d"', "a\ufffd"),
    ("low surrogate", '"\\ude00a"', "\ufffda"),
    ("surrogates in the wrong order", '"\\ude00\\ud83d"', "\ufffd\ufffd"),
    ("a pair in escapes", '"\\ud83d\\ude00"', "😀"),
    ("every escape", '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'),
]
"""(name, JSON text as sent, text as stored)"""

_SQL_WORDS: Final = ["select", "SELECT", "user", "table", "order", "group", "primary", "default", "null"]
_SQL_WORDS += ["true", "current_user", "constraint", "limit", "offset", "all", "and", "from", "where", "desc"]
_SYSTEM: Final = ["xmin", "xmax", "cmin", "ctid", "tableoid", "oid", "_stream", "_unmapped_data", "excluded"]
_PROTOCOL: Final = ["message_id", "messageId", "received_at", "receivedAt", "request_ip", "type", "Type"]
_PROTOCOL += ["event", "user_id", "userId", "timestamp", "context", "context_ip", "traits", "properties"]
_SCRIPTS: Final = ["ключ", "鍵", "مفتاح", "מפתח", "हिन्दी", "ภาษาไทย", "キー", "열쇠", "clé", "cle\u0301", "ß"]
_SCRIPTS += ["İ", "ﬁ"]
_CODE: Final = [
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "__class__",
    "a.b.c",
    "a[0]",
    "$set",
]
_SIGNS: Final = ["'", '"', "`", ";", "--", "/*", "\\", "%s", "{}", "!!!", "-", "_", "__", "$", "a b", " a"]
_SIGNS += [
    "a ",
    " ",
    "@id",
    "/",
    "/message_id",
    "~1",
    "🎉",
    "👩\u200d👧",
    "\u200b",
    "\ufeff",
    "\u202e",
    "\ue000",
]
_SIGNS += ["1", "1a", "1e5", "a-b"]

KEYS: Final = {
    **{repr(key): json.dumps(key) for key in (*_SQL_WORDS, *_SYSTEM, *_PROTOCOL, *_SCRIPTS, *_CODE, *_SIGNS)},
    "empty": '""',
    "NUL": '"a\\u0000b"',
    "nothing but NUL": '"\\u0000"',
    "lone surrogate": '"a\\ud800"',
    "63 letters": json.dumps("k" * 63),
    "64 letters": json.dumps("k" * 64),
    "300 letters": json.dumps("k" * 300),
    "100,000 letters": json.dumps("k" * 100_000),
    "63 bytes of 3": json.dumps("鍵" * 21),
    "66 bytes of 3": json.dumps("鍵" * 22),
}
"""name → JSON text of the key"""

RIVALS: Final = [
    ("fooBar", "foo_bar"),
    ("Foo", "foo"),
    ("FOO", "f_o_o"),
    ("a!b", "a?b"),
    ("a b", "a_b"),
    ("", "_unnamed"),
    ("é", "e\u0301"),
    ("x" * 63 + "a", "x" * 63 + "b"),
    ("鍵" * 22, "鍵" * 23),
    ("İ", "i̇"),
    ("messageId", "message_id"),
    ("1", "01"),
]
"""Pairs of keys in one event: what both say is kept."""

NAMES: Final = {
    "of 300 letters": json.dumps("e" * 300),
    "of emoji": '"🎉🎉"',
    "with a NUL": '"a\\u0000b"',
    "as SQL": json.dumps("'; DROP TABLE events; --"),
    "as a path": '"../../etc/passwd"',
    "as a table of the system": '"pg_catalog.pg_class"',
    "as a table of ours": '"penstock.progress"',
    "as a column": '"message_id"',
    "of one space": '" "',
    "in another script": '"Заказ оформлен"',
}
"""name → JSON text of a track event's name"""

MESSAGE_IDS: Final = {
    "a number": "12345",
    "a fraction": "1.5",
    "white space": '" a b\\t"',
    "256 letters": json.dumps("m" * 256),
    "emoji": '"🎉-1"',
    "a path": '"../a/b?c=d#e%41"',
    "SQL": json.dumps("'; DROP TABLE events; --"),
    "a NUL": '"nul\\u0000nul"',
    "a lone surrogate": '"half\\ud83d"',
    "right to left": '"\\u202eabc"',
    "a UUID in capitals": '"0189D3C5-7E5B-7C3A-8B1E-2F3A4B5C6D7E"',
    "null in words": '"null"',
}
"""name → JSON text of a messageId"""

TABLES: Final = [
    ("empty", '""', ""),
    ("null", "null", ""),
    ("a number", "5", ""),
    ("an object", '{"a":1}', ""),
    ("a space", '" "', ""),
    ("upper case", '"EVENTS"', ""),
    ("SQL", '"events; DROP TABLE events"', ""),
    ("of the system", '"pg_catalog.pg_class"', ""),
    ("of ours", '"penstock.progress"', ""),
    ("a quote", '"a\\"b"', ""),
    ("a NUL", '"a\\u0000b"', ""),
    ("a lone surrogate", '"t\\ud800"', ""),
    ("emoji", '"🎉"', ""),
    ("300 letters", json.dumps("t" * 300), ""),
    ("another script", '"таблица"', ""),
    ("a word of SQL", '"select"', ""),
    ("of somebody else", '"accounts"', "not made by Penstock"),
    ("a view", '"a_view"', "not made by Penstock"),
    ("an index", '"accounts_pkey"', "not made by Penstock"),
    ("a sequence", '"a_sequence"', "not made by Penstock"),
    ("a type", '"mood"', "a type is called so"),
]
"""(name, JSON text of JITSU_TABLE_NAME, part of the reason if it is refused)"""
