"""Every nasty event ends as a row or as one dead letter with a reason, in every layout, and stops nothing."""

import asyncio
import http.client
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from tests.conftest import fresh_database
from tests.corpus.kinds import ABSENT, Aside, Kind, all_kinds
from tests.running import SERVER_KEY, Penstock, configuration, free_port

LAYOUTS = ["segment-single-table", "segment", "jitsu-legacy", "passthrough"]
KINDS = all_kinds()
IDS = {
    "segment-single-table": "user_id",
    "segment": "user_id",
    "jitsu-legacy": "user_id",
    "passthrough": "userId",
}
COLUMNS = dict.fromkeys(LAYOUTS, "message_id")
COLUMNS |= {"passthrough": "messageId", "jitsu-legacy": "eventn_ctx_event_id"}
OTHERS = """
CREATE TABLE accounts (id bigint PRIMARY KEY);
CREATE VIEW a_view AS SELECT 1 AS one;
CREATE SEQUENCE a_sequence;
CREATE TYPE mood AS ENUM ('ok');
"""
Rows = dict[str, list[dict[str, Any]]]


class Sent:
    """A server that got every kind, and what it made of them: `rows` by user id; `refused` at once."""

    def __init__(self, server: Penstock, url: str, layout: str) -> None:
        self.server = server
        self.layout = layout
        self.refused: list[str] = []
        for rounds in ("before", "event"):
            self._send([(at, kind, getattr(kind, rounds)) for at, kind in enumerate(KINDS)], rounds[0])
            server.drained()
        self.rows = asyncio.run(_rows(url, IDS[layout]))

    def _send(self, kinds: list[tuple[int, Kind, str | None]], prefix: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        for at, kind, text in kinds:
            if text is not None:
                message_id = kind.message_id or f'"{prefix}{at}"'
                event = text % f'"messageId":{message_id},"userId":"{prefix}{at}"'
                body = f'{{"batch":[{event}]}}'.encode()
                connection.request("POST", "/v1/batch", body, {"X-Write-Key": SERVER_KEY})
                answer = connection.getresponse().read()
                if b'"okEvents":1' not in answer:
                    self.refused.append(f"{kind.name}: {answer.decode()}")
        connection.close()

    def outcome(self, name: str) -> tuple[str, str]:
        """State and reason of an event on the link."""
        (event,) = self.server.admin(f"/api/v1/events/{quote(name, safe='')}").json["events"]
        (link,) = event["links"]
        return link["state"], link.get("reason") or ""


async def _rows(url: str, id_column: str) -> Rows:
    """Every row of every table that has the column, by the user id."""
    found: Rows = defaultdict(list)
    connection = await asyncpg.connect(url)
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    columns = (
        "pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE relnamespace = 'public'::regnamespace"
    )
    tables = f"{columns} AND relkind IN ('r', 'p') AND NOT relispartition AND attname = $1"
    for (table,) in await connection.fetch(f"SELECT relname FROM {tables}", id_column):
        quoted = table.replace('"', '""')
        for record in await connection.fetch(f'SELECT * FROM public."{quoted}"'):
            found[record[id_column]].append({k: v for k, v in dict(record).items() if v is not None})
    await connection.close()
    return found


@pytest.fixture(scope="module", params=LAYOUTS)
def sent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_url: str
) -> Iterator[Sent]:
    folder: Path = tmp_path_factory.mktemp("corpus")
    with fresh_database(postgres_url) as url:
        asyncio.run(_execute(url, OTHERS))
        conf = configuration(free_port(), folder / "data", url)
        data = {"mode": "stream", "dataLayout": request.param}
        # One of them in partitions, of a column with capitals; one in tables that events name.
        data |= {"partition": "day"} if request.param == "passthrough" else {}
        data |= {"tableNameTemplate": "{{.event}}"} if request.param == "jitsu-legacy" else {}
        conf["links"]["site-warehouse"]["data"] = data
        server = Penstock(folder, conf).start()
        try:
            yield Sent(server, url, request.param)
        finally:
            assert server.stop() == 0


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statements)
    await connection.close()


def test_there_are_enough_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 300


def test_none_is_refused_by_the_collector(sent: Sent) -> None:
    assert not sent.refused, "\n".join(sent.refused)


def test_every_event_is_a_row_or_a_dead_letter_with_a_reason(sent: Sent) -> None:
    wrong = [told for at, kind in enumerate(KINDS) if (told := _end(sent, f"e{at}", kind))]
    assert not wrong, "\n".join(wrong)


def test_the_rows_say_what_was_sent(sent: Sent) -> None:
    wrong = [told for at, kind in enumerate(KINDS) for told in _faults(sent, f"e{at}", kind)]
    assert not wrong, "\n".join(wrong)


def test_nothing_stopped_the_link(sent: Sent) -> None:
    refused = sum(bool(kind.refusal(sent.layout)) for kind in KINDS)
    assert sent.server.metric("penstock_link_dead_letters_total") == refused
    assert sent.server.metric("penstock_link_up") == 1


def _end(sent: Sent, name: str, kind: Kind) -> str:
    rows = len(sent.rows[name])
    # An odd id is asked for as the row has it.
    message_id = sent.rows[name][0][COLUMNS[sent.layout]] if kind.message_id and rows else name
    state, reason = sent.outcome(message_id)
    if refusal := kind.refusal(sent.layout):
        good = state == "dead-lettered" and refusal in reason and not rows
    else:
        good = state == "delivered" and rows == (2 if _is_track_of_segment(sent, kind) else 1)
    return "" if good else f"{kind.name}: {state} {reason}, {rows} rows"


def _is_track_of_segment(sent: Sent, kind: Kind) -> bool:
    """Two rows, unless the event names its table."""
    named = '"JITSU_TABLE_NAME":"' in kind.event and '"JITSU_TABLE_NAME":""' not in kind.event
    return sent.layout == "segment" and '"type":"track"' in kind.event and not named


def _faults(sent: Sent, name: str, kind: Kind) -> Iterator[str]:
    rows = sent.rows[name]
    for key, expected in kind.properties.items():
        column = key
        if sent.layout == "passthrough":  # which leaves keys as they are, in arrays too
            column = f"properties_{key}"
            expected = expected.replace("a_key", "aKey") if isinstance(expected, str) else expected
        if not any(_holds(row, column, expected) for row in rows):
            shown = [str(row.get(column))[:80] for row in rows]
            yield f"{kind.name}: {column} is {shown}, not {str(expected)[:80]}"
    for mark in kind.marks:
        if not any(_count(row, mark) == 1 for row in rows):
            yield f"{kind.name}: {mark} is {[_count(row, mark) for row in rows]} times in {str(rows)[:300]}"


def _holds(row: dict[str, Any], column: str, expected: Any) -> bool:
    aside = row.get("_unmapped_data", {})
    if expected is ABSENT:
        return column not in row and column not in aside
    if isinstance(expected, Aside):
        return column not in row and aside.get(column) == expected.value
    value = row.get(column)
    if isinstance(expected, float) and isinstance(value, float):
        return (math.copysign(1, value), value) == (math.copysign(1, expected), expected)
    return type(value) is type(expected) and value == expected


def _count(row: dict[str, Any], mark: str) -> int:
    values = [*row.values(), *row.get("_unmapped_data", {}).values()]
    return sum(isinstance(value, str) and mark in value for value in values)
