"""JSON that is nearly JSON: read, put right, and written again as strict JSON.

Real SDKs send bare NaN and Infinity (Python), lone surrogates (JavaScript), broken UTF-8 and raw control
characters. None of that is a reason to lose an event. Invariant: what `parse` takes, `encode` writes as
strict JSON, in which integers keep all their digits. This is the slow path (some µs an event); a regular
event is only ever `load`ed.
"""

import json
import re
from typing import Any

import msgspec

# What is nested deeper becomes its own JSON text, so that a recursion behind ingest has a bound.
DEPTH_MAX = 200

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
# One bracket or the end, and all up to it; a string is skipped whole, one without an end reaches to the end.
# It matches wherever it is tried, and takes nothing twice: so it is linear.
_NEXT_BRACKET = re.compile(r'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+([\[\]{}]|\Z)', re.DOTALL)
# How the parser's complaint about a raw control character in a string begins.
_CONTROL = "Invalid control character"
# What has more brackets is not looked through for the deep ones: 0.1 s on the reference box.
_BRACKETS_MAX = 200_000
_SURROGATE = re.compile("[\ud800-\udfff]")
# A longer integer lies beyond the double range. To make an int of its digits, and digits of it again, costs
# their square.
_INTEGER_CHARS_MAX = 310
# Of the characters at this step, a longer integer has ten in a row.
_DIGITS_STEP = 31
_TEN_DIGITS = re.compile("[0-9]{10}")


class UnreadableError(ValueError):
    """The bytes are not JSON under any repair; the text says where reading stopped."""


class Repairs:
    """Counts what `parse` put right in one body."""

    def __init__(self) -> None:
        self.count = 0

    def null(self, _constant: str) -> None:
        """NaN and the infinities have no JSON form."""
        self.count += 1

    def integer(self, digits: str) -> int | str:
        """An integer beyond the double range stays as text, so that it keeps its digits at no great cost."""
        if len(digits) <= _INTEGER_CHARS_MAX:
            return int(digits)
        self.count += 1
        return digits

    def decimal(self, digits: str) -> float | None:
        """A number beyond the double range becomes null."""
        number = float(digits)
        if number - number == 0:
            return number
        self.count += 1
        return None

    def text(self, text: str) -> str:
        """Lone surrogates become U+FFFD."""
        if text.isascii() or not _SURROGATE.search(text):
            return text
        self.count += 1
        return _SURROGATE.sub("\ufffd", text)


def parse(body: bytes, repairs: Repairs) -> Any:
    """The value in `body`, repaired; raises `UnreadableError`."""
    text = _text(body, repairs)
    before = repairs.count
    try:
        return _clean(_loads(text, repairs), repairs)
    except RecursionError:
        repairs.count = before + 1
    if sum(map(text.count, "[]{}")) > _BRACKETS_MAX:
        raise UnreadableError("nested too deeply")
    # Around the item of a batch there are two levels more.
    text = _shorten(text, DEPTH_MAX + 2)
    try:
        return _clean(_loads(text, repairs), repairs)
    except RecursionError:  # brackets that nothing closes
        raise UnreadableError("nested too deeply") from None


def _text(body: bytes, repairs: Repairs) -> str:
    try:
        text = str(body, "utf-8-sig")
    except UnicodeDecodeError:
        repairs.count += 1
        return str(body, "utf-8-sig", "replace")
    repairs.count += body.startswith(BYTE_ORDER_MARK)
    return text


def _loads(text: str, repairs: Repairs, strict: bool = True) -> Any:
    before = repairs.count
    # A hook for every integer is slow, so only where there may be a long one.
    integer = repairs.integer if _TEN_DIGITS.search(text[::_DIGITS_STEP]) else None
    try:
        return json.loads(
            text,
            strict=strict,
            parse_constant=repairs.null,
            parse_float=repairs.decimal,
            parse_int=integer,
        )
    except json.JSONDecodeError as error:
        if not strict or error.msg[: len(_CONTROL)] != _CONTROL:
            raise UnreadableError(str(error)) from None
    repairs.count = before + 1
    return _loads(text, repairs, strict=False)  # takes raw control characters inside strings


def _clean(value: Any, repairs: Repairs) -> Any:
    """`value` without lone surrogates in its texts and keys. Only walked if there are any."""
    try:
        _encode(value)
    except UnicodeEncodeError:
        return _walk(value, repairs)
    return value


def _walk(value: Any, repairs: Repairs) -> Any:
    kind = type(value)
    if kind is str:
        return repairs.text(value)
    if kind is dict:
        return {repairs.text(key): _walk(item, repairs) for key, item in value.items()}
    if kind is list:
        return [_walk(item, repairs) for item in value]
    return value


def encode(value: Any) -> bytes:
    """Strict JSON of a value that `parse` returned."""
    return _encode(value)


def load(item: bytes) -> Any:
    """The value of a JSON text that ingest has accepted, nested no deeper than `DEPTH_MAX`. Does not raise.

    Two things are left for here because looking for them at ingest would cost a third of its time: a number
    beyond the double range becomes null, and what is nested too deeply becomes its own JSON text.
    """
    try:
        value = _decode(item)
    except (msgspec.MsgspecError, RecursionError):
        return parse(_shorten(item.decode()).encode(), Repairs())
    # Counting brackets is cheap, and tells of nearly every event that it cannot be deep.
    if len(item) > 2 * DEPTH_MAX and item.count(b"{") + item.count(b"[") > DEPTH_MAX and _is_deep(value):
        return _decode(_shorten(item.decode()))
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _shorten(text: str, depth_max: int = DEPTH_MAX) -> str:
    """`text` with every array or object deeper than `depth_max` levels replaced by a string of its JSON."""
    parts: list[str] = []
    depth = start = done = 0
    for token in _NEXT_BRACKET.finditer(text):
        mark = token[1]
        if mark in ("{", "["):
            depth += 1
            if depth == depth_max + 1:
                start = token.start(1)
        elif mark:
            if depth == depth_max + 1:
                parts += (text[done:start], json.dumps(text[start : token.end()]))
                done = token.end()
            depth -= 1
    return "".join((*parts, text[done:]))
