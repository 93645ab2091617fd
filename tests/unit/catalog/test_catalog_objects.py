"""One field table for the configuration file and the management API."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalog import (
    Destination,
    Link,
    Stream,
    check_objects,
    moment_ms,
    normalize_destination,
    normalize_link,
    normalize_stream,
    schema_faults,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "publicKeys",
    "browser_keys",
    "origins",
    "authorizedJavaScriptDomains",
    "datasource",
    "host",
    "sslMode",
    "data",
]


def stream(value: dict[str, object]) -> Stream:
    return msgspec.convert(normalize_stream({"id": "s", **value}), Stream)


def destination(value: dict[str, object]) -> Destination:
    return msgspec.convert(normalize_destination({"id": "d", **value}), Destination)


def link(**data: object) -> Link:
    return msgspec.convert(normalize_link({"id": "l", "fromId": "s", "toId": "d", "data": data}), Link)


def check(streams: list[Stream], destinations: list[Destination], links: list[Link]) -> list[str]:
    by_id = [{item.id: item for item in items} for items in (streams, destinations, links)]
    return [fault.path for fault in check_objects(*by_id, set(by_id[0]), set(by_id[1]))]


def test_jitsus_stream_is_ours() -> None:
    theirs = stream(
        {
            "publicKeys": [{"id": "b", "plaintext": "x"}],
            "privateKeys": ["s:y"],
            "authorizedJavaScriptDomains": "a.example, b.example",
        }
    )
    ours = stream({"browser_keys": ["b:x"], "server_keys": ["s:y"], "origins": ["a.example", "b.example"]})
    assert theirs == ours


def test_an_opaque_key_is_not_named_by_itself() -> None:
    key = stream({"browser_keys": ["dk_live_abc123"]}).browser_keys[0]
    assert key.token == "dk_live_abc123"
    assert key.id not in key.token
    assert "dk_live" not in repr(key)


def test_a_flat_destination_is_ours() -> None:
    flat = {
        "host": "h",
        "database": "d",
        "defaultSchema": "s",
        "username": "u",
        "password": "p",
        "sslMode": "require",
    }
    nested = {"host": "h", "db": "d", "schema": "s", "username": "u", "password": "p"}
    theirs = destination({"destinationType": "postgres", **flat})
    assert theirs == destination(
        {"type": "postgres", "datasource": {**nested, "parameters": {"sslmode": "require"}}}
    )


def test_no_password_in_a_repr() -> None:
    shown = repr(
        destination({"type": "postgres", "host": "h", "db": "d", "username": "u", "password": "hunter2"})
    )
    assert "hunter2" not in shown


def test_a_primary_key_may_be_a_comma_list() -> None:
    assert link(primaryKey="timestamp, message_id").data.primary_key == ("timestamp", "message_id")


def test_both_names_of_one_field_are_a_fault() -> None:
    value = normalize_stream({"id": "s", "origins": [], "authorizedJavaScriptDomains": "x"})
    assert [fault.path for fault in schema_faults(value, msgspec.json.schema(Stream))] == [
        "authorizedJavaScriptDomains"
    ]


def test_a_key_leads_to_one_place() -> None:
    streams = [stream({"browser_keys": ["a:b"], "server_keys": ["a:b"]})]
    assert check(streams, [], []) == ["streams.s.server_keys[0]"]


def test_a_destination_is_one_of_two_things() -> None:
    neither, both = destination({"type": "postgres"}), {"host": "h", "db": "d", "username": "u"}
    assert check([], [neither], []) == ["destinations.d"]
    assert check([], [destination({"type": "postgres", "embedded": True, **both})], []) == ["destinations.d"]
    assert check([], [destination({"type": "postgres", "embedded": True})], []) == []


def test_an_unknown_sslmode_is_a_fault() -> None:
    value = {"type": "postgres", "host": "h", "db": "d", "username": "u", "sslMode": "on"}
    assert check([], [destination(value)], []) == ["destinations.d.datasource.parameters.sslmode"]


def test_a_schema_is_no_longer_than_postgres_takes() -> None:
    where = {"host": "h", "db": "d", "username": "u", "schema": "я" * 32}
    assert check([], [destination({"type": "postgres", **where})], []) == ["destinations.d.datasource.schema"]
    here = destination({"type": "postgres", "embedded": True, "schema": "я" * 32})
    assert check([], [here], []) == ["destinations.d.schema"]


def test_ends_must_exist_and_pairs_be_single() -> None:
    twin = msgspec.structs.replace(link(), id="twin")
    assert check([], [], [link()]) == ["links.l.from", "links.l.to"]
    good = destination({"type": "postgres", "embedded": True})
    assert check([stream({})], [good], [link(), twin]) == ["links.twin"]


def test_deduplicate_needs_a_key() -> None:
    good = destination({"type": "postgres", "embedded": True})
    assert check([stream({})], [good], [link(primaryKey=[])]) == ["links.l.data.primaryKey"]
    assert check([stream({})], [good], [link(primaryKey=[], deduplicate=False)]) == []


@pytest.mark.parametrize(("partition", "columns_max"), [("none", 31), ("day", 30)])
def test_a_key_has_no_more_columns_than_an_index(partition: str, columns_max: int) -> None:
    """Postgres has 32; the stream is in it, and the day of a partitioned table."""
    columns = [f"c{n}" for n in range(columns_max + 1)]
    assert faults_of(primaryKey=columns[:-1], partition=partition) == []
    assert faults_of(primaryKey=columns, partition=partition) == ["links.l.data.primaryKey"]
    assert faults_of(primaryKey=columns, partition=partition, deduplicate=False) == []


def faults_of(**data: object) -> list[str]:
    good = destination({"type": "postgres", "embedded": True})
    return check([stream({})], [good], [link(**data)])


@pytest.mark.parametrize(
    ("template", "is_one"),
    [
        ("events", True),
        ("events_{{.type}}", True),
        ("{{ .context.page.host }}-{{.event}}", True),
        ("{{.Заказ}}", True),
        ("{{.}}", False),
        ("{{type}}", False),
        ("{{if .type}}a{{end}}", False),
        ("a{b}", False),
        ("{{.a b}}", False),
        ("{{.type", False),
    ],
)
def test_a_table_name_template(template: str, is_one: bool) -> None:
    assert faults_of(tableNameTemplate=template) == ([] if is_one else ["links.l.data.tableNameTemplate"])


@pytest.mark.parametrize(
    ("start", "is_one"),
    [
        ("oldest", True),
        ("now", True),
        ("2026-11-21T00:00:00Z", True),
        ("2026-11-21", True),
        (datetime(2026, 11, 21, tzinfo=UTC), True),
        ("later", False),
        ("2026-13-01", False),
    ],
)
def test_a_start(start: object, is_one: bool) -> None:
    assert faults_of(startFrom=start) == ([] if is_one else ["links.l.data.startFrom"])


def test_a_moment_without_an_offset_is_utc() -> None:
    assert moment_ms("1970-01-02") == 86_400_000
    assert moment_ms("1970-01-01T01:00:00.5+01:00") == 500
    assert moment_ms("1969-12-31T23:59:59Z") == -1_000


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=6), JSON, max_size=4))
def test_any_document_is_taken_or_explained(value: dict[str, object]) -> None:
    for normalize, shape in (
        (normalize_stream, Stream),
        (normalize_destination, Destination),
        (normalize_link, Link),
    ):
        document = normalize({"id": "x", **value})
        faults = list(schema_faults(document, msgspec.json.schema(shape)))
        try:
            msgspec.convert(document, shape)
        except msgspec.ValidationError:
            assert faults
        else:
            assert not faults


def test_a_pipeline_key_is_no_server_key() -> None:
    assert check([stream({"server_keys": ["dk_live_x"]})], [], []) == ["streams.s.server_keys[0]"]


def test_a_host_falls_back_to_one_stream_only() -> None:
    first = stream({"domains": ["Data.example:443"], "domain_fallback": True})
    second = msgspec.structs.replace(first, id="t", domains=("data.example",))
    third = msgspec.structs.replace(second, id="u", domain_fallback=False)
    assert check([first, second, third], [], []) == ["streams.t.domains[0]"]
