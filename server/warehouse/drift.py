"""Whether a table still has the columns that rows were encoded for. Reads only.

A cached shape grows old when somebody alters the table beside us. Postgres notices most of that, but not
all: COPY in binary takes the eight bytes of a double for those of a bigint, and INSERT … SELECT rounds a
double to fit one. So a flush asks once its rows are loaded: the lock that loading took lasts until COMMIT,
and keeps everybody from altering what was looked at.
"""

from collections.abc import Iterable
from typing import Final

from server.warehouse.connection import Session
from server.warehouse.plan import Plan

_OTHER: Final = """
SELECT loaded.name FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    AS loaded(schema, name, attribute, type)
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = loaded.schema
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = loaded.name
LEFT JOIN pg_catalog.pg_attribute a
    ON a.attrelid = c.oid AND a.attname = loaded.attribute AND NOT a.attisdropped
WHERE a.atttypid IS NULL OR pg_catalog.format_type(a.atttypid, NULL) <> loaded.type
LIMIT 1
"""


class TableChanged(Exception):  # noqa: N818 - it is what happened
    """A column is of another type than its cells were encoded for: read the table anew, encode again."""


async def require_types(session: Session, plans: Iterable[Plan]) -> None:
    """Raises TableChanged, and asyncpg's errors. In the transaction that loaded rows by these plans."""
    loaded = [
        (plan.shape.schema, plan.shape.name, column.name, column.sql_type)
        for plan in plans
        for column in plan.columns
    ]
    if not loaded:
        return
    arrays = map(list, zip(*loaded, strict=True))
    changed = await session.step(session.connection.fetchval(_OTHER, *arrays))
    if changed is not None:
        raise TableChanged(f"somebody changes the columns of {changed}")
