"""Batches: good items pass, bad ones are named, what the batch says for all is merged."""

import json
from typing import Any

import pytest

from server.ingest import Decoded, Limits, Refusal, RequestFacts, decode_batch, restore, stream_seed

FACTS = RequestFacts(1_772_029_801_250, "server", None, None, None, None, stream_seed("site"))


def decode(body: Any, limits: Limits = Limits()) -> Decoded | Refusal:  # noqa: B008
    return decode_batch(body if isinstance(body, bytes) else json.dumps(body).encode(), FACTS, limits)


def events(body: Any) -> list[dict[str, Any]]:
    decoded = decode(body)
    assert isinstance(decoded, Decoded), decoded
    return [restore(decoded.head, bytes(item)) for item in decoded.items]


def page(**more: Any) -> dict[str, Any]:
    return {"type": "page", "messageId": "m", **more}


def test_a_bad_item_does_not_sink_the_good_ones() -> None:
    decoded = decode(
        {"batch": [page(messageId="1"), {"type": "track", "messageId": "2"}, 7, page(messageId="4")]}
    )
    assert isinstance(decoded, Decoded)
    assert (decoded.received, len(decoded.items), len(decoded.ids)) == (4, 2, 2)
    assert [(error.index, error.message_id, error.slug) for error in decoded.errors] == [
        (1, "2", "invalid_event"),
        (2, None, "invalid_event"),
    ]


def test_a_repaired_item_leaves_the_others_as_they_came() -> None:
    decoded = decode(
        b'{"batch":[{"type":"page", "messageId":"1"},{"type":"page","messageId":"2","userId":5}]}'
    )
    assert isinstance(decoded, Decoded)
    assert bytes(decoded.items[0]) == b'{"type":"page", "messageId":"1"}'
    assert json.loads(bytes(decoded.items[1]))["userId"] == "5"
    assert decoded.repairs == 1


def test_a_batch_with_nan_is_taken_whole() -> None:
    decoded = decode(
        b'{"batch":[{"type":"page","x":NaN},{"type":"page"},{"type":"x"}],"context":{"a":1},"sentAt":"t"}'
    )
    assert isinstance(decoded, Decoded)
    assert (len(decoded.items), len(decoded.errors), decoded.repairs) == (2, 1, 1)
    first = restore(decoded.head, bytes(decoded.items[0]))
    assert (first["x"], first["context"], first["sentAt"]) == (None, {"a": 1}, "t")


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        ({"batch": []}, "empty_batch"),
        ({"batch": None}, "empty_batch"),
        ({}, "empty_batch"),
        ({"batch": {"type": "page"}}, "bad_request"),
        ([], "empty_batch"),
        ("text", "bad_request"),
        (b"7", "bad_request"),
        ({"batch": [{"type": "page"}], "context": []}, "invalid_event"),
        (b'{"batch":[', "bad_json"),
        (b'{"batch":' + b"[" * 100_000 + b"]" * 99_000 + b"}", "bad_json"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_batch_that_is_refused_whole(body: Any, slug: str) -> None:
    refusal = decode(body)
    assert isinstance(refusal, Refusal)
    assert refusal.slug == slug


@pytest.mark.parametrize("nan", ["", ',"x":NaN'])
def test_the_number_of_events_is_bounded(nan: str) -> None:
    item = '{"type":"page"' + nan + "}"
    body = ('{"batch":[' + ",".join([item] * 4) + "]}").encode()
    assert isinstance(decode(body, Limits(batch_events_max=4)), Decoded)
    refusal = decode(body, Limits(batch_events_max=3))
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "too_many_events"


def test_an_item_over_the_limit_is_refused_alone() -> None:
    decoded = decode({"batch": [page(), page(text="x" * 500)]}, Limits(event_bytes_max=400))
    assert isinstance(decoded, Decoded)
    assert [(error.index, error.slug) for error in decoded.errors] == [(1, "too_large")]


def test_what_every_event_repeats_counts_for_each_and_is_bounded() -> None:
    body = {"batch": [page()], "context": {"text": "x" * 500}}
    decoded = decode(body, Limits(event_bytes_max=400))
    assert isinstance(decoded, Decoded)
    assert decoded.errors[0].slug == "too_large"
    refusal = decode(body, Limits(shared_bytes_max=400))
    assert isinstance(refusal, Refusal)
    assert refusal.slug == "too_large"


def test_context_and_integrations_merge_shallowly_and_the_item_wins() -> None:
    shared = {"context": {"a": 1, "b": {"x": 1}}, "integrations": {"All": True, "S3": False}}
    own = page(context={"b": {"y": 2}}, integrations={"S3": True})
    first, second = events({"batch": [own, page(messageId="2")], **shared})
    assert first["context"] == {"a": 1, "b": {"y": 2}}
    assert first["integrations"] == {"All": True, "S3": True}
    assert second["context"] == shared["context"]
    assert second["integrations"] == shared["integrations"]


def test_events_of_a_batch_share_no_value() -> None:
    first, second = events({"batch": [page(), page(messageId="2")], "context": {"b": {"x": 1}}})
    first["context"]["b"]["x"] = 2
    assert second["context"]["b"]["x"] == 1


@pytest.mark.parametrize("integrations", [False, [], "x", None])
def test_odd_integrations_are_left_alone(integrations: Any) -> None:
    own, none = events(
        {"batch": [page(integrations=False), page(messageId="2")], "integrations": integrations}
    )
    assert own["integrations"] is False
    assert "integrations" not in none


def test_the_sent_at_of_the_batch_is_for_items_without_one() -> None:
    sent = "2026-02-25T14:30:00.000Z"
    body = {
        "batch": [page(), page(messageId="2", sentAt="own"), page(messageId="3", sentAt=None)],
        "sentAt": sent,
    }
    assert [event["sentAt"] for event in events(body)] == [sent, "own", sent]


@pytest.mark.parametrize("sent_at", [None, True, [1], 1_772_029_800_000, 2**70])
def test_an_odd_sent_at_does_not_refuse_the_batch(sent_at: Any) -> None:
    assert len(events({"batch": [page()], "sentAt": sent_at})) == 1


@pytest.mark.parametrize(
    "sent", ["1700000000000", "1.5", "-3", '"t"', "9007199254740993", "true", "1" + "0" * 308, "9" * 309]
)
def test_a_repair_elsewhere_does_not_change_when_a_batch_was_sent(sent: str) -> None:
    text = f'{{"sentAt":{sent},"batch":[{{"type":"page","messageId":"m","x":%s}}]}}'
    strict, repaired = (events((text % value).encode())[0] for value in ("null", "NaN"))
    assert repaired == strict
    assert ("sentAt" in strict) is (sent not in ("true", "9" * 309))
