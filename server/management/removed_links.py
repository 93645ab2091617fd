"""Between which ends links were that are deleted: one made again between them, without an id, has the id of
the one before, so that it goes on where that one was for as long as its checkpoint is kept.

One record a deleted link, written with the change; a later deletion takes old ones along. Event-loop thread;
short reads of the catalog.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from server.management.stored import Stored
from storage import Delete, Put, TableEnv

_TABLE: Final = "removed_links"
KEPT_MS: Final = 30 * 86_400_000
"""Longer than delivery keeps the checkpoint."""


class _Record(msgspec.Struct, frozen=True, array_like=True):
    """Where the link was, and when it was deleted."""

    workspace: str
    ends: tuple[str, str]
    removed_ms: int


def removals(
    catalog: TableEnv, changes: Iterable[tuple[Stored | None, Stored | None]], now_ms: int
) -> list[Put | Delete]:
    """What to write with changes (before, after) of objects."""
    ops: list[Put | Delete] = []
    for before, after in changes:
        if after is not None and before is None and after.kind == "link":
            ops.append(Delete(_TABLE, after.id.encode()))
        if after is None and before is not None and before.kind == "link":
            record = _Record(before.workspace, before.ends, now_ms)
            ops.append(Put(_TABLE, before.id.encode(), msgspec.msgpack.encode(record)))
    if any(isinstance(op, Put) for op in ops):
        old = [id_ for record, id_ in _records(catalog) if now_ms - record.removed_ms > KEPT_MS]
        ops = [*(Delete(_TABLE, id_.encode()) for id_ in old), *ops]
    return ops


def id_before(catalog: TableEnv, workspace: str, body: Mapping[str, Any]) -> str | None:
    """The id that the newest deleted link between these ends had. None for one that says where it begins
    (`startFrom`): it is another link.
    """
    data = body.get("data")
    if isinstance(data, Mapping) and data.get("startFrom") is not None:
        return None
    ends = (body.get("from"), body.get("to"))
    found = [
        (record.removed_ms, id_)
        for record, id_ in _records(catalog)
        if (record.workspace, record.ends) == (workspace, ends)
    ]
    return max(found)[1] if found else None


def _records(catalog: TableEnv) -> list[tuple[_Record, str]]:
    return [
        (msgspec.msgpack.decode(value, type=_Record), key.decode()) for key, value in catalog.scan(_TABLE)
    ]
