"""Whatever the bytes: a value comes back, and what was accepted is strict JSON that can be restored."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from server.ingest import (
    Decoded,
    Limits,
    Refusal,
    RequestFacts,
    body_write_key,
    decode_batch,
    decode_event,
    inflate,
    message_hash,
    restore,
)
from server.problems import PROBLEMS

LIMITS = Limits(batch_events_max=5, event_bytes_max=2_000, shared_bytes_max=300)

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "track", "page", "group", "__sql_type_a", "2026-02-25T14:30:00Z"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
IDS = ["messageId", "userId", "anonymousId", "groupId", "previousId"]
TIMES = ["timestamp", "originalTimestamp", "sentAt", "receivedAt"]
OBJECTS = ["properties", "traits", "context", "integrations"]
FIELDS = st.sampled_from(["type", "event", *IDS, *TIMES, *OBJECTS, "requestIp", "x"])
EVENTS = st.dictionaries(FIELDS, st.one_of(TEXTS, VALUES), max_size=8)
BATCHES = st.fixed_dictionaries(
    {"batch": st.one_of(st.lists(st.one_of(EVENTS, VALUES), max_size=6), VALUES)},
    optional={"context": VALUES, "integrations": VALUES, "sentAt": VALUES},
)
FACTS = st.builds(
    RequestFacts,
    received_ms=st.integers(0, 4_102_444_800_000),
    kind=st.sampled_from(["browser", "server"]),
    path_type=st.sampled_from([None, "track", "page", "identify", "group", "alias", "screen"]),
    ip=st.sampled_from([None, "203.0.113.0"]),
    user_agent=st.one_of(st.none(), st.text(max_size=5)),
    locale=st.sampled_from([None, "en"]),
    id_seed=st.integers(0, 2**64 - 1),
    needs_identity=st.booleans(),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON as Python writes it (NaN, escaped surrogates), then perhaps bent or broken."""
    text = json.dumps(draw(st.one_of(EVENTS, BATCHES, VALUES)), ensure_ascii=draw(st.booleans()))
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        cut = draw(st.integers(0, 2))
        body[at : at + cut] = draw(
            st.sampled_from([b"", b"\xff", b"\\ud83d", b"1e999", b"NaN", b"\0", b"[", b"}", b'"', b"\n"])
        )
    return bytes(body)


def check(body: bytes, facts: RequestFacts, result: Decoded | Refusal) -> None:
    if isinstance(result, Refusal):
        assert result.slug in PROBLEMS
        return
    assert len(result.items) == len(result.ids)
    assert len(result.items) + len(result.errors) == result.received
    for error in result.errors:
        assert error.slug in PROBLEMS
        json.dumps(error.message_id).encode()
    for item, id_hash in zip(result.items, result.ids, strict=True):
        raw = bytes(item)
        json.loads(raw.decode(), parse_constant=_not_strict)
        event = restore(result.head, raw)
        assert restore(result.head, raw) == event
        assert message_hash(facts.id_seed, event["messageId"]) == id_hash
        assert event["type"] == (facts.path_type or event["type"])
        for name in ("properties", "traits", "context"):
            assert isinstance(event.get(name), dict | None)
        msgspec.json.encode(event)


def _not_strict(constant: str) -> Any:
    raise AssertionError(constant)


@settings(max_examples=600)
@given(st.one_of(bodies(), st.binary(max_size=40)), FACTS)
def test_any_bytes(body: bytes, facts: RequestFacts) -> None:
    check(body, facts, decode_event(body, facts, LIMITS))
    check(body, facts, decode_batch(body, facts, LIMITS))
    key = body_write_key(body)
    assert key is None or key


@settings(max_examples=300)
@given(BATCHES, FACTS)
def test_any_batch(batch: dict[str, Any], facts: RequestFacts) -> None:
    body = json.dumps(batch).encode()
    check(body, facts, decode_batch(body, facts, LIMITS))


@settings(max_examples=300)
@given(EVENTS, FACTS)
def test_strict_and_repaired_paths_agree(event: dict[str, Any], facts: RequestFacts) -> None:
    """The fast path and the slow path (forced by a byte order mark) make the same event of the same body."""
    body = json.dumps(msgspec.json.decode(msgspec.json.encode(_utf8(event)))).encode()
    fast = decode_event(body, facts, Limits())
    slow = decode_event(b"\xef\xbb\xbf" + body, facts, Limits())
    assert isinstance(fast, Refusal) == isinstance(slow, Refusal)
    if isinstance(fast, Decoded) and isinstance(slow, Decoded):
        one, two = (restore(decoded.head, bytes(decoded.items[0])) for decoded in (fast, slow))
        if not str(event.get("messageId") or "").replace("\0", ""):  # without one, each is made an own
            del one["messageId"], two["messageId"]
        assert one == two


def _utf8(value: Any) -> Any:
    return json.loads(json.dumps(value).encode().replace(b"\\ud", b"\\u0"))


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_gzip(body: bytes, bytes_max: int) -> None:
    for data in (body, b"\x1f\x8b\x08" + body):
        result = inflate(data, bytes_max)
        assert isinstance(result, Refusal) or len(result) <= bytes_max
