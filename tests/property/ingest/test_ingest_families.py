"""The families beyond Segment's: whatever the bytes, a value; and the same events whichever way they came."""

import json
from typing import Any

import msgspec
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_api_key,
    decode_batch,
    decode_classic,
    decode_event,
    decode_lines,
    message_hash,
    pixel_event,
    restore,
)
from server.problems import PROBLEMS

LIMITS = Limits(batch_events_max=5, event_bytes_max=2_000, shared_bytes_max=300)
TEXTS = st.one_of(st.text(max_size=6), st.sampled_from(["", "page_view", "group", "2026-02-25T14:30:00Z"]))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS)
IDS = st.one_of(SCALARS, st.just("id"))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
USERS = st.one_of(
    VALUES, st.fixed_dictionaries({}, optional={"id": IDS, "anonymous_id": IDS, "email": TEXTS})
)
CONTEXTS = st.one_of(
    VALUES, st.fixed_dictionaries({}, optional={"event_id": IDS, "user": USERS, "utc_time": TEXTS})
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("event_id", "eventn_ctx_event_id", "messageId"), IDS),
        **dict.fromkeys(("event_type", "utc_time", "_timestamp", "group_id", "context", "x"), VALUES),
        **dict.fromkeys(("api_key", "__sql_type_x", "JITSU_TABLE_NAME"), TEXTS),
        "user": USERS,
        "eventn_ctx": CONTEXTS,
    },
)
BODIES = st.one_of(
    EVENTS,
    VALUES,
    st.lists(st.one_of(EVENTS, VALUES), max_size=6),
    st.fixed_dictionaries(
        {"batch": st.lists(EVENTS, max_size=3)}, optional={"event_type": VALUES, "x": VALUES}
    ),
    st.fixed_dictionaries({"template": st.one_of(EVENTS, VALUES), "events": st.lists(EVENTS, max_size=3)}),
)
FACTS = st.builds(
    RequestFacts,
    received_ms=st.integers(0, 4_102_444_800_000),
    kind=st.sampled_from(["browser", "server"]),
    path_type=st.sampled_from([None, "track"]),
    ip=st.sampled_from([None, "203.0.113.0"]),
    user_agent=st.sampled_from([None, "UA"]),
    locale=st.none(),
    id_seed=st.integers(0, 2**64 - 1),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(BODIES), ensure_ascii=draw(st.booleans()))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b"\xff", b"\\ud83d", b"1e999", b"NaN", b"\0", b"[", b"}", b'"', b"\n"])
        )
    return bytes(body)


def check(facts: RequestFacts, result: Decoded | Refusal) -> None:
    if isinstance(result, Refusal):
        assert result.slug in PROBLEMS
        return
    assert len(result.items) + len(result.errors) == result.received
    assert all(error.slug in PROBLEMS for error in result.errors)
    for item, id_hash in zip(result.items, result.ids, strict=True):
        raw = bytes(item)
        json.loads(raw.decode(), parse_constant=_not_strict)
        event = restore(result.head, raw)
        assert message_hash(facts.id_seed, event["messageId"]) == id_hash
        assert event["type"] != "track" or event["event"]
        assert isinstance(event["properties"], dict)
        msgspec.json.encode(event)


def _not_strict(constant: str) -> Any:
    raise AssertionError(constant)


@settings(max_examples=500)
@given(st.one_of(bodies(), st.binary(max_size=40)), FACTS)
def test_any_classic_bytes(body: bytes, facts: RequestFacts) -> None:
    check(facts, decode_classic(body, facts, LIMITS))
    check(facts, decode_lines(body, facts, LIMITS))
    key = body_api_key(body)
    assert key is None or key


def restored(result: Decoded | Refusal) -> list[dict[str, Any]]:
    """The events without the ids that were made for them."""
    assert isinstance(result, Decoded), result
    events = [restore(result.head, bytes(item)) for item in result.items]
    for event in events:
        if len(event["messageId"]) == 36:
            del event["messageId"]
    return events


def _utf8(value: Any) -> Any:
    """`value` as JSON has it: without NaN and halves of surrogate pairs."""
    text = json.dumps(value).encode().replace(b"\\ud", b"\\u0")
    return msgspec.json.decode(msgspec.json.encode(json.loads(text)))


@settings(max_examples=300)
@given(st.lists(EVENTS, min_size=1, max_size=4), FACTS)
def test_strict_and_repaired_paths_agree(events: list[Any], facts: RequestFacts) -> None:
    body = json.dumps(_utf8(events)).encode()
    fast, slow = (decode_classic(mark + body, facts, Limits()) for mark in (b"", b"\xef\xbb\xbf"))
    assert restored(fast) == restored(slow)
    lines = b"\n".join(json.dumps(event).encode() for event in _utf8(events))
    assert restored(decode_lines(lines, facts, Limits())) == restored(fast)


PLAIN = RequestFacts(1_772_029_801_250, "server", None, None, None, None, 0)
SHARED = st.dictionaries(st.sampled_from(["user", "x", "y", "event_type", "eventn_ctx"]), VALUES, max_size=4)


@settings(max_examples=300)
@given(SHARED, st.lists(EVENTS, min_size=1, max_size=4), FACTS)
@example(
    {"user": None, "x": None, "eventn_ctx": None}, [{"event_id": "\0", "eventn_ctx_event_id": "0"}], PLAIN
)
@example({"eventn_ctx": None}, [{"event_id": "a\0", "eventn_ctx_event_id": "0", "messageId": "\0"}], PLAIN)
def test_a_template_is_a_merge(template: Any, events: list[Any], facts: RequestFacts) -> None:
    template, events = _utf8(template), _utf8(events)
    context = template.get("eventn_ctx")
    assume(not isinstance(context, dict) or "event_id" not in context)
    body = json.dumps({"template": template, "events": events}).encode()
    merged = json.dumps([{**template, **event} for event in events]).encode()
    one, two = (decode_classic(text, facts, Limits()) for text in (body, merged))
    assert restored(one) == restored(two)


@settings(max_examples=200)
@given(
    st.lists(st.one_of(EVENTS.map(_utf8), st.just("{broken")), min_size=1, max_size=5),
    st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\r\n"]), min_size=5, max_size=5),
    st.sampled_from(["", "\n", "\r\n"]),
    FACTS,
)
def test_any_lines(events: list[Any], ends: list[str], start: str, facts: RequestFacts) -> None:
    """However lines end, the events are those of the array, and a bad line is called by its number."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    content = start + "".join(text + end for text, end in zip(texts, ends, strict=False))
    result = decode_lines(content.encode(), facts, Limits())
    assert isinstance(result, Decoded)
    lines = content.split("\n")
    bad = [number for number, line in enumerate(lines, 1) if line.startswith("{broken")]
    assert [error.index for error in result.errors if error.slug == "bad_json"] == bad
    array = json.dumps([event for event in events if not isinstance(event, str)] or [{}]).encode()
    good = decode_classic(array, facts, Limits())
    if len(bad) < len(events):
        assert restored(result) == restored(good)


@settings(max_examples=300)
@given(st.one_of(EVENTS, st.lists(EVENTS, max_size=3)), FACTS)
def test_an_array_is_a_batch(events: Any, facts: RequestFacts) -> None:
    array = events if isinstance(events, list) else [events]
    texts = [json.dumps(body).encode() for body in (array, {"batch": array})]
    results = [decode(text, facts, LIMITS) for text in texts for decode in (decode_batch, decode_event)]
    assert len(set(map(outcome, results))) == 1
    assert len({outcome(decode_classic(text, facts, LIMITS)) for text in texts}) == 1


def outcome(result: Decoded | Refusal) -> str | int:
    return result.slug if isinstance(result, Refusal) else len(result.items)


QUERIES = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["data", "e", "ts", "p.a", "p", "a.b", "a", "%ff", "event_id", "user.id", "x..y", ""]
            ),
            st.one_of(
                TEXTS, st.sampled_from(["eyJhIjoxfQ", "W10", "%7B%7D", "{", "+", "%", "1772029800000"])
            ),
        ),
        max_size=6,
    ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)),
)


@settings(max_examples=500)
@given(QUERIES, st.sampled_from(["segment", "jitsu", "classic"]), FACTS)
def test_any_pixel(query: str, dialect: Any, facts: RequestFacts) -> None:
    body = pixel_event(dialect, facts.path_type, query)
    if isinstance(body, Refusal):
        assert body.slug == "bad_request"
    elif dialect == "classic":
        check(facts, decode_classic(body, facts, LIMITS))
    else:
        result = decode_event(body, facts, LIMITS)
        assert isinstance(result, Refusal | Decoded)
