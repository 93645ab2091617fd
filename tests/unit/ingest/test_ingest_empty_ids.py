"""An empty id counts as absent: in rows it would be one visitor whom all the unknown ones share."""

import json
from typing import Any

import pytest

from server.ingest import Decoded, Limits, RequestFacts, decode_event, restore, stream_seed

FACTS = RequestFacts(1, "browser", "track", None, None, None, stream_seed("s"))
MARK = b"\xef\xbb\xbf"  # makes a body irregular


def restored(body: bytes) -> dict[str, Any]:
    decoded = decode_event(body, FACTS, Limits())
    assert isinstance(decoded, Decoded)
    return restore(decoded.head, bytes(decoded.items[0]))


@pytest.mark.parametrize("name", ["userId", "anonymousId", "groupId", "previousId"])
@pytest.mark.parametrize("said", [b'""', b' ""', b'"x"'])
def test_an_empty_id_is_none(name: str, said: bytes) -> None:
    body = b'{"event":"E","messageId":"m","properties":{"%s":""},"%s":%s}' % (
        name.encode(),
        name.encode(),
        said,
    )
    event = restored(body)
    assert event.get(name, "none") == ("x" if b"x" in said else "none")
    assert event["properties"] == {name: ""}


@pytest.mark.parametrize("name", ["userId", "anonymousId", "groupId", "previousId"])
@pytest.mark.parametrize("said", ["\0", "\0\0"])
@pytest.mark.parametrize("mark", [b"", MARK])
def test_an_id_of_nothing_but_nuls_is_none(name: str, said: str, mark: bytes) -> None:
    body = {"event": "E", "messageId": "m", name: said, "properties": {name: said}}
    event = restored(mark + json.dumps(body).encode())
    assert name not in event
    assert event["properties"] == {name: said}


@pytest.mark.parametrize(
    "body", [{"event": "a\0b"}, {"event": "\0"}, {"event": "E", "userId": "a\0b"}], ids=str
)
def test_a_nul_stays_in_a_text_whichever_path_it_takes(body: dict[str, Any]) -> None:
    text = json.dumps({**body, "messageId": "m"}).encode()
    regular, irregular = restored(text), restored(MARK + text)
    assert regular == irregular
    assert regular.items() >= body.items()


@pytest.mark.parametrize("kind", ["identify", "group"])
@pytest.mark.parametrize("said", ["\0", ""])
def test_both_paths_accept_and_refuse_the_same(kind: str, said: str) -> None:
    text = json.dumps({"type": kind, "messageId": "m", "userId": said, "groupId": said}).encode()
    facts = RequestFacts(1, "server", kind, None, None, None, stream_seed("s"))
    taken = [isinstance(decode_event(mark + text, facts, Limits()), Decoded) for mark in (b"", MARK)]
    assert taken == [bool(said)] * 2
