"""Column types: what a value becomes. Pure and total: no value of JSON raises here, `None` means "does not
fit".

A new column gets the smallest common type of the values that the batch has for it. An existing column never
changes, so a value is converted to it or does not fit, and then goes to `_unmapped_data`; in a new one that
can only be a whole number between two doubles, beside fractions. Rules: reference, Jitsu Next 3.5 and 3.6.

Wire types are the six that Penstock creates and encodes. A column of any other type (a user's enum, uuid,
numeric) is sent as the nearest wire type and cast by Postgres in the merge; what can be checked cheaply is
checked here first.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Final

import orjson

from server.warehouse.rows import Value


class ColumnType(Enum):
    """The value is the type's name in Postgres."""

    TEXT = "text"
    BIGINT = "bigint"
    DOUBLE = "double precision"
    TIMESTAMPTZ = "timestamp with time zone"
    BOOLEAN = "boolean"
    JSONB = "jsonb"


BIGINT_MIN: Final = -(2**63)
BIGINT_MAX: Final = 2**63 - 1
_REAL_MAX: Final = 3.4028234663852886e38
_TIMESTAMP_CHARS_MIN: Final = 19
_TIMESTAMP_CHARS_MAX: Final = 35
# Postgres counts timestamps in microseconds from here.
_EPOCH: Final = datetime(2000, 1, 1)
_EPOCH_UTC: Final = datetime(2000, 1, 1, tzinfo=UTC)

# Events of one batch share their seconds: a parsed second is kept, with the endings that SDKs send looked up.
SECONDS: Final[dict[str, int]] = {}
SECONDS_MAX: Final = 16_384
FRACTIONS: Final = {f".{ms:03}Z": ms * 1000 for ms in range(1000)} | {"Z": 0, "": 0}

_RANK: Final = {ColumnType.BOOLEAN: 0, ColumnType.BIGINT: 1, ColumnType.DOUBLE: 2}

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,1000}(?:\.[0-9]{0,1000})?|\.[0-9]{1,1000})(?:[eE][+-]?[0-9]{1,3})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UUID = re.compile(r"\{?[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\}?")
_ESCAPE = re.compile(rb"\\(?:u0000|.)", re.DOTALL)

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def infer(value: Value) -> ColumnType:
    """The type of a new column that has to hold `value` (not None)."""
    if isinstance(value, str):
        return ColumnType.TEXT if timestamp_us(value) is None else ColumnType.TIMESTAMPTZ
    if isinstance(value, bool):
        return ColumnType.BOOLEAN
    if isinstance(value, int):
        return ColumnType.BIGINT if BIGINT_MIN <= value <= BIGINT_MAX else ColumnType.TEXT
    return ColumnType.DOUBLE


def promote(one: ColumnType | None, other: ColumnType) -> ColumnType:
    """The smallest common type: boolean < bigint < double < text, timestamptz < text."""
    if one is None or one is other:
        return other
    if one in _RANK and other in _RANK:
        return one if _RANK[one] > _RANK[other] else other
    return ColumnType.TEXT


def timestamp_us(text: str) -> int | None:
    """Microseconds since 2000-01-01 UTC of an RFC 3339 time or `YYYY-MM-DD[T ]HH:MM:SS[.frac]` (then UTC)."""
    second = SECONDS.get(text[:19])
    fraction = FRACTIONS.get(text[19:])
    return _parsed_us(text) if second is None or fraction is None else second + fraction


def _parsed_us(text: str) -> int | None:
    if not _TIMESTAMP_CHARS_MIN <= len(text) <= _TIMESTAMP_CHARS_MAX:
        return None
    if text[4] != "-" or text[7] != "-" or text[0] not in "12" or text[10] not in "T " or text[16] != ":":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    since = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if text[19:] in FRACTIONS:
        if len(SECONDS) >= SECONDS_MAX:
            SECONDS.clear()
        SECONDS[text[:19]] = us - FRACTIONS[text[19:]]
    return us


def plain_text(value: str) -> str:
    """Without what Postgres cannot store: NUL is removed, a lone surrogate becomes U+FFFD."""
    clean = value.replace("\0", "")
    return clean.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def to_text(value: Value) -> str:
    """Any scalar, written as JSON would write it (strings without quotes)."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return _int_text(value) if isinstance(value, int) else ""


def to_bigint(value: Value) -> int | None:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            return None
        value = int(value)
    elif isinstance(value, float):
        if not value.is_integer():
            return None
    elif value is None:
        return None
    number = int(value)
    return number if BIGINT_MIN <= number <= BIGINT_MAX else None


def to_double(value: Value) -> float | None:
    """A whole number that a double cannot tell from its neighbours is an id rather than a measure: it does
    not fit.
    """
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return None
        number = float(value)
        if not math.isfinite(number):
            return None
        return None if value.lstrip("+-").isdigit() and int(value) != number else number
    if value is None:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number == value else None


def to_boolean(value: Value) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return True if value in _TRUE else False if value in _FALSE else None
    return bool(value) if value in (0, 1) else None


def to_timestamp_us(value: Value) -> int | None:
    """As `timestamp_us`, and a pure date is midnight UTC: a column that is a timestamp may take it."""
    if not isinstance(value, str):
        return None
    return timestamp_us(f"{value}T00:00:00" if _DATE.fullmatch(value) else value)


def to_json(value: Value) -> bytes | None:
    """JSON text for jsonb: a string that is a JSON object or array stays one, any other value becomes a
    scalar.
    """
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            data = value.encode()
            orjson.loads(data)
        except (UnicodeEncodeError, orjson.JSONDecodeError):
            return json_scalar(value)
        return _ESCAPE.sub(_without_nul, data) if rb"\u0000" in data else data
    return json_scalar(value)


def json_scalar(value: Value) -> bytes:
    """One scalar as JSON text. Integers keep every digit; infinities and NaN, which JSON has not, become
    strings.
    """
    if isinstance(value, str):
        return orjson.dumps(plain_text(value))
    if isinstance(value, float) and not math.isfinite(value):
        return orjson.dumps(_float_text(value))
    if isinstance(value, int) and not isinstance(value, bool):
        digits = _int_text(value)
        return orjson.dumps(digits) if "x" in digits else digits.encode()
    return orjson.dumps(value)


def json_object(values: dict[str, Value]) -> bytes:
    """A flat JSON object of scalars, for `_unmapped_data`."""
    pairs = (orjson.dumps(plain_text(name)) + b":" + json_scalar(value) for name, value in values.items())
    return b"{" + b",".join(pairs) + b"}"


def _without_nul(escape: re.Match[bytes]) -> bytes:
    return b"" if escape[0] == rb"\u0000" else escape[0]


def _float_text(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _int_text(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # of more digits than Python converts by default; no JSON parser makes one
        return hex(value)


# --- columns that Penstock did not make ---

_WIRE_OF: Final = {
    "text": ColumnType.TEXT,
    "int8": ColumnType.BIGINT,
    "float8": ColumnType.DOUBLE,
    "timestamptz": ColumnType.TIMESTAMPTZ,
    "bool": ColumnType.BOOLEAN,
    "jsonb": ColumnType.JSONB,
}
_NEAREST: Final = {
    "int2": ColumnType.BIGINT,
    "int4": ColumnType.BIGINT,
    "float4": ColumnType.DOUBLE,
    "timestamp": ColumnType.TIMESTAMPTZ,
    "date": ColumnType.TIMESTAMPTZ,
    "json": ColumnType.JSONB,
}
_INTEGER_MAX: Final = {"int2": 2**15 - 1, "int4": 2**31 - 1}

Check = Callable[[Value], bool]


def wire_type(type_name: str) -> tuple[ColumnType, bool]:
    """The wire type for a pg_catalog type name, and whether it is that very type (no cast needed)."""
    if type_name in _WIRE_OF:
        return _WIRE_OF[type_name], True
    return _NEAREST.get(type_name, ColumnType.TEXT), False


def fit_check(type_name: str, chars_max: int | None) -> Check | None:
    """A test that the converted value must pass to fit a column of this type; None if every value fits."""
    if type_name in _INTEGER_MAX:
        limit = _INTEGER_MAX[type_name]
        return lambda value: -limit - 1 <= (to_bigint(value) or 0) <= limit
    if type_name == "float4":
        return lambda value: not _REAL_MAX < abs(to_double(value) or 0.0) < math.inf
    if type_name == "numeric":
        return _fits_numeric
    if type_name == "uuid":
        return lambda value: isinstance(value, str) and _UUID.fullmatch(value) is not None
    if chars_max is not None:
        return lambda value: len(to_text(value)) <= chars_max
    return None


def _fits_numeric(value: Value) -> bool:
    return not isinstance(value, bool) and _NUMBER.fullmatch(to_text(value)) is not None
