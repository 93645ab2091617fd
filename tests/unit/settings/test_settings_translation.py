"""What the settings become for the packages that carry them out."""

from pathlib import Path

import pytest

from server.settings import load
from server.translation.delivery import link_configs, warehouse_limits

CONF = """
streams: {site: {}}
destinations: {pg: {type: postgres, embedded: true}}
links: {l: {from: site, to: pg, data: {%s}}}
"""


def test_the_statement_timeout_reaches_the_destination_and_a_stalled_wire_is_given_up_later() -> None:
    limits = warehouse_limits(load(None, {}, {"delivery.statement_timeout_s": "7.5"}))
    assert limits.statement_timeout_s == 7.5
    assert limits.statement_timeout_s < limits.stall_timeout_s < 2 * limits.statement_timeout_s


@pytest.mark.parametrize(
    ("data", "name", "value"),
    [
        ("mode: stream", "mode", "stream"),
        ("dataLayout: jitsu-legacy", "layout", "jitsu-legacy"),
        ("keepOriginalNames: true", "keep_original_names", True),
        ("tableName: clicks", "table_name", "clicks"),
        ('tableNameTemplate: "t_{{.type}}"', "table_name_template", "t_{{.type}}"),
        ('primaryKey: "user_id, message_id"', "primary_key", ("user_id", "message_id")),
        ("deduplicate: false", "deduplicate", False),
        ("timestampColumn: null", "timestamp_column", None),
        ("partition: day", "partition", "day"),
        ("schemaFreeze: true", "schema_freeze", True),
        ("batchSize: 7", "batch_events_max", 7),
        ("frequency: 60", "frequency_minutes", 60),
        ("startFrom: now", "start_from", "now"),
        ("startFrom: 2026-11-21T00:00:00Z", "start_from", 1795219200000),
        ("startFrom: oldest", "start_from", "oldest"),
        ("", "start_from", None),
    ],
)
def test_an_option_reaches_the_link(tmp_path: Path, data: str, name: str, value: object) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text(CONF % data)
    (link,) = link_configs(load(path, {}, {}))
    assert getattr(link, name) == value
