"""Nasty events, each of a kind of its own, as a table: oddity × place.

Every kind says what its row must hold, worked out by hand here and not by any code of the product. Values are
JSON text, because much of what is nasty cannot be said by a JSON library.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from tests.corpus.texts import KEYS, MESSAGE_IDS, NAMES, RIVALS, TABLES, TEXTS

ABSENT: Final = object()
"""Expected of a column that the row leaves empty."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Expected of a value that fits its column not: it is in `_unmapped_data`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Kind:
    """One event (JSON text with `%s` where its ids go), sent after `before` was delivered.

    properties   key → what its column must hold; marks: texts that the row must hold somewhere, once each.
    message_id   as JSON text, if it is the odd thing.
    refused      part of the reason if it must end as a dead letter; in the layouts of `only`, if any.
    """

    name: str
    event: str
    before: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    message_id: str = ""
    refused: str = ""
    only: tuple[str, ...] = ()

    def refusal(self, layout: str) -> str:
        """Part of the reason if it is refused in that layout."""
        return self.refused if not self.only or layout in self.only else ""


def track(properties: str, name: str = '"Nasty"', more: str = "") -> str:
    """A track event. Its ids are filled in when it is sent."""
    return '{"type":"track","event":%s,%%s%s,"properties":%s}' % (  # noqa: UP031
        name.replace("%", "%%"),
        more.replace("%", "%%"),
        properties.replace("%", "%%"),
    )


def _moment(*parts: int, offset_h: float = 0) -> datetime:
    return datetime(*parts, tzinfo=timezone(timedelta(hours=offset_h))).astimezone(UTC)  # type: ignore[arg-type]


# What is sent after another value made the column: (JSON text, what each type of column makes of it).
_T0: Final = _moment(2026, 3, 1, 12)
_MADE: Final = {
    "text": '"hello"',
    "bigint": "42",
    "double": "1.5",
    "boolean": "true",
    "timestamptz": '"2026-03-01T12:00:00Z"',
}
_MISFIT: Final = object()
_LATER: Final[list[tuple[str, str, tuple[Any, ...]]]] = [
    # name, JSON, then: text, bigint, double, boolean, timestamptz
    ("words", '"hello"', ("hello", _MISFIT, _MISFIT, _MISFIT, _MISFIT)),
    ("integer", "42", ("42", 42, 42.0, _MISFIT, _MISFIT)),
    ("one", "1", ("1", 1, 1.0, True, _MISFIT)),
    ("fraction", "1.5", ("1.5", _MISFIT, 1.5, _MISFIT, _MISFIT)),
    ("whole fraction", "3.0", ("3.0", 3, 3.0, _MISFIT, _MISFIT)),
    ("truth", "true", ("true", 1, 1.0, True, _MISFIT)),
    ("time", '"2026-03-01T12:00:00Z"', ("2026-03-01T12:00:00Z", _MISFIT, _MISFIT, _MISFIT, _T0)),
    ("day", '"2026-03-01"', ("2026-03-01", _MISFIT, _MISFIT, _MISFIT, _moment(2026, 3, 1))),
    ("beyond 64 bits", str(2**70), (str(2**70), _MISFIT, 2.0**70, _MISFIT, _MISFIT)),
    ("array", "[1,2]", ("[1,2]", _MISFIT, _MISFIT, _MISFIT, _MISFIT)),
    ("null", "null", (ABSENT,) * 5),
    ("digits", '"7"', ("7", 7, 7.0, _MISFIT, _MISFIT)),
    ("fraction in words", '"2.5"', ("2.5", _MISFIT, 2.5, _MISFIT, _MISFIT)),
    ("truth in words", '"true"', ("true", _MISFIT, _MISFIT, True, _MISFIT)),
    ("nothing", '""', ("", _MISFIT, _MISFIT, _MISFIT, _MISFIT)),
    ("NaN in words", '"NaN"', ("NaN", _MISFIT, _MISFIT, _MISFIT, _MISFIT)),
]


def _conflicts() -> Iterator[Kind]:
    for place, (made, first) in enumerate(_MADE.items()):
        for name, later, outcomes in _LATER:
            key = f"{made}_{name}".replace(" ", "_").lower()
            sent = "[1,2]" if later == "[1,2]" else json.loads(later)
            expected = Aside(sent) if outcomes[place] is _MISFIT else outcomes[place]
            yield Kind(
                f"{name} into {made}",
                track(f'{{"{key}":{later}}}'),
                before=track(f'{{"{key}":{first}}}'),
                properties={key: expected},
            )


_NUMBERS: Final[list[tuple[str, Any]]] = [
    ("0", 0),
    ("-0", 0),
    ("-1", -1),
    ("9007199254740993", 2**53 + 1),
    ("9223372036854775807", 2**63 - 1),
    ("-9223372036854775808", -(2**63)),
    ("9223372036854775808", str(2**63)),
    ("-9223372036854775809", str(-(2**63) - 1)),
    ("1" + "0" * 30, "1" + "0" * 30),
    ("1" + "0" * 400, "1" + "0" * 400),
    ("0.1", 0.1),
    ("-0.0", -0.0),
    ("1.0", 1.0),
    ("1E5", 1e5),
    ("1e-400", 0.0),
    ("5e-324", 5e-324),
    ("1.7976931348623157e308", 1.7976931348623157e308),
    ("123456789.123456789", 123456789.123456789),
    ("0." + "1" * 300, float("0." + "1" * 300)),
    ("NaN", ABSENT),
    ("Infinity", ABSENT),
    ("-Infinity", ABSENT),
    ("true", True),
    ("false", False),
    ("null", ABSENT),
    ("{}", ABSENT),
    ("[]", "[]"),
]


def _numbers() -> Iterator[Kind]:
    for at, (text, expected) in enumerate(_NUMBERS):
        shown = text if len(text) < 30 else f"{text[:8]}… ({len(text)} characters)"
        yield Kind(f"number {shown}", track(f'{{"number{at}":{text}}}'), properties={f"number{at}": expected})


_TIMES: Final[list[tuple[str, Any]]] = [
    ("2026-03-01T12:00:00Z", _T0),
    ("2026-03-01 12:00:00", _T0),
    ("2026-03-01T12:00:00", _T0),
    ("2026-03-01T12:00:00+14:00", _moment(2026, 3, 1, 12, offset_h=14)),
    ("2026-03-01T12:00:00-14:00", _moment(2026, 3, 1, 12, offset_h=-14)),
    ("2026-03-01T12:00:00+05:30", _moment(2026, 3, 1, 12, offset_h=5.5)),
    ("2026-03-01T12:00:00-00:00", _T0),
    ("2026-03-01T12:00:00.1Z", _T0 + timedelta(milliseconds=100)),
    ("2026-03-01T12:00:00.123456Z", _T0 + timedelta(microseconds=123456)),
    ("2026-03-01T12:00:00.123456789Z", _T0 + timedelta(microseconds=123456)),
    ("2026-03-01T12:00:00.123456789012Z", _T0 + timedelta(microseconds=123456)),
    ("1000-01-01T00:00:00Z", _moment(1000, 1, 1)),
    ("1582-10-10T00:00:00Z", _moment(1582, 10, 10)),
    ("1969-12-31T23:59:59Z", _moment(1969, 12, 31, 23, 59, 59)),
    ("2038-01-19T03:14:08Z", _moment(2038, 1, 19, 3, 14, 8)),
    ("2999-12-31T23:59:59.999999Z", _moment(2999, 12, 31, 23, 59, 59, 999999)),
    ("2024-02-29T00:00:00Z", _moment(2024, 2, 29)),
    *(
        (text, text)
        for text in (
            "2026-02-29T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2026-03-01T25:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-03-01T12:00:00+99:00",
            "0001-01-01T00:00:00Z",
            "-0044-03-15T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "2026-03-01",
            "2026-03-01T12:00Z",
            "20260301T120000Z",
            "1772366400",
            "1772366400000",
            "Sun, 01 Mar 2026 12:00:00 GMT",
            "01/03/2026 12:00:00 PM",
            "2026-03-01T12:00:00Z ",
            " 2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00ZZ",
            "2026-03-01T12:00:00 Europe/Berlin",
            "now",
            "infinity",
            "epoch",
        )
    ),
]


def _times() -> Iterator[Kind]:
    for at, (text, expected) in enumerate(_TIMES):
        yield Kind(
            f"time {text!r}", track(f'{{"time{at}":{json.dumps(text)}}}'), properties={f"time{at}": expected}
        )


def _texts() -> Iterator[Kind]:
    for at, (name, sent, stored) in enumerate(TEXTS):
        yield Kind(f"text: {name}", track(f'{{"text{at}":{sent}}}'), properties={f"text{at}": stored})


def _deep(levels: int, kind: str) -> str:
    left, right = ("[", "]") if kind == "array" else ('{"deep":', "}")
    return left * levels + '"mark:deep"' + right * levels


def _nested() -> Iterator[Kind]:
    shapes = {
        "array of all types": '[1,"a",null,true,1.5,[],{}]',
        "array of objects": '[{"aKey":1},{"aKey":"x"}]',
        "array of nulls": "[null,null]",
        "long array": json.dumps(list(range(20_000))),
    }
    for at, (name, text) in enumerate(shapes.items()):
        stored = text.replace("aKey", "a_key").replace(" ", "")
        yield Kind(name, track(f'{{"array{at}":{text}}}'), properties={f"array{at}": stored})
    for kind in ("array", "object"):
        for levels in (2, 31, 32, 33, 64, 199, 300, 900):
            yield Kind(f"{kind} {levels} deep", track(f'{{"d{kind}{levels}":{_deep(levels, kind)}}}'))
    yield Kind(
        "object and value under one key",
        track('{"mixed":{"a":"mark:1"}}'),
        track('{"mixed":5}'),
        marks=("mark:1",),
    )
    yield Kind(
        "value where an object was",
        track('{"mixed2":"mark:1"}'),
        track('{"mixed2":{"a":5}}'),
        marks=("mark:1",),
    )
    many = ",".join(f'"many{at}":{at}' for at in range(150))
    yield Kind("150 keys", track(f"{{{many}}}"), properties={"many149": 149})
    yield Kind("empty keys all the way", track('{"":{"":{"":"mark:1"}}}'), marks=("mark:1",))
    yield Kind("keys repeated", track('{"twice":"a","twice":"b"}'), properties={"twice": "b"})


def _keys() -> Iterator[Kind]:
    for name, key in KEYS.items():
        yield Kind(f"key {name}", track(f'{{{key}:"mark:key"}}'), marks=("mark:key",))
    for one, other in RIVALS:
        both = f'{{{json.dumps(one)}:"mark:one",{json.dumps(other)}:"mark:other"}}'
        yield Kind(f"keys {one!r} and {other!r}", track(both), marks=("mark:one", "mark:other"))


_ODD: Final = [
    "null",
    "5",
    "true",
    '""',
    '"x"',
    "[]",
    '[{"a":1}]',
    '{"a":{"b":[1]}}',
    '"\\u0000"',
    '"\\ud800"',
]
_PLACES: Final = {
    "context.page": '"context":{"page":%s}',
    "context.page.url": '"context":{"page":{"url":%s}}',
    "context.library": '"context":{"library":%s}',
    "context.campaign": '"context":{"campaign":%s}',
    "context.ip": '"context":{"ip":%s}',
    "context.userAgent": '"context":{"userAgent":%s}',
    "context.locale": '"context":{"locale":%s}',
    "context.traits.email": '"context":{"traits":{"email":%s}}',
    "context.groupId": '"context":{"groupId":%s}',
    "context.clientIds": '"context":{"clientIds":%s}',
    "integrations": '"integrations":%s',
    "sentAt": '"sentAt":%s',
    "originalTimestamp": '"originalTimestamp":%s',
    "timestamp": '"timestamp":%s',
    "channel": '"channel":%s',
    "a key of its own": '"something":%s',
}


def _places() -> Iterator[Kind]:
    for place, field_ in _PLACES.items():
        for odd in _ODD:
            yield Kind(f"{place} is {odd}", track("{}", more="," + field_ % odd))


def _types() -> Iterator[Kind]:
    bodies = {
        "identify": '"traits":{"email":%s}',
        "group": '"groupId":"g","traits":{"plan":%s}',
        "page": '"name":%s',
        "screen": '"name":%s',
        "alias": '"previousId":%s',
    }
    for kind, body in bodies.items():
        for odd in ("null", "5", '""', '"x"', *(() if kind == "alias" else ("[1]", '{"a":1}'))):
            text = f'{{"type":"{kind}",%s,{body % odd}}}'
            yield Kind(f"{kind} with {body % odd}", text)


def _tables() -> Iterator[Kind]:
    for name, table, refused in TABLES:
        yield Kind(f"table {name}", track("{}", more=f',"JITSU_TABLE_NAME":{table}'), refused=refused)
    for name, text in NAMES.items():
        yield Kind(f"event name {name}", track("{}", name=text))
    # There an event's name is its table's: of the layout, and of the template in the test.
    by_name = ("segment", "jitsu-legacy")
    for name, table, refused in TABLES:
        if refused:
            event = track("{}", name=table)
            yield Kind(f"event name as {name}", event, refused=refused, only=by_name)


def _message_ids() -> Iterator[Kind]:
    for name, text in MESSAGE_IDS.items():
        yield Kind(f"message id {name}", track("{}"), message_id=text)


def all_kinds() -> list[Kind]:
    """Every kind, in an order that does not change."""
    made = [_conflicts, _numbers, _times, _texts, _nested, _keys, _places, _types, _tables, _message_ids]
    return [kind for make in made for kind in make()]
