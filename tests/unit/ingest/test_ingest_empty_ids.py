"""An empty id counts as absent: in rows it would be one visitor whom all the unknown ones share."""

import pytest

from server.ingest import Decoded, Limits, RequestFacts, decode_event, restore, stream_seed


@pytest.mark.parametrize("name", ["userId", "anonymousId", "groupId", "previousId"])
@pytest.mark.parametrize("said", [b'""', b' ""', b'"x"'])
def test_an_empty_id_is_none(name: str, said: bytes) -> None:
    body = b'{"event":"E","messageId":"m","properties":{"%s":""},"%s":%s}' % (
        name.encode(),
        name.encode(),
        said,
    )
    decoded = decode_event(
        body, RequestFacts(1, "browser", "track", None, None, None, stream_seed("s")), Limits()
    )
    assert isinstance(decoded, Decoded)
    event = restore(decoded.head, bytes(decoded.items[0]))
    assert event.get(name, "none") == ("x" if b"x" in said else "none")
    assert event["properties"] == {name: ""}
