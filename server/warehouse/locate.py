"""Which rows of a batch does the destination refuse? Asked only after a load failed twice, the second time
with freshly read tables.

The rows are staged unfolded, in offset order, with their number. The merge is tried on all of them; a part
that fails is undone (savepoint) and halved, down to the single row, whose event is refused. Halves run in
order, so rows that are equal only to Postgres (citext, numeric keys) merge one after the other. A COPY
error names its line. What fails for any reason that is not the fault of a row passes through.
"""

import re
from collections.abc import Sequence

from server.warehouse import merge
from server.warehouse.connection import Session
from server.warehouse.copy import numbered
from server.warehouse.encode import Encoding
from server.warehouse.errors import (
    TRANSLATED,
    Refused,
    RowsRefused,
    context,
    describe,
    is_data_shaped,
    is_repeat,
    sqlstate,
)
from server.warehouse.locks import touching
from server.warehouse.merge import ORDINAL, Staging
from server.warehouse.plan import Plan

_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE)

Part = tuple[Plan, Staging, Encoding]
_Numbered = tuple[int, bytes]


async def locate(session: Session, parts: Sequence[Part]) -> None:
    """Load the parts carefully. Raises RowsRefused with the rows found, at most as many as the budget
    allows.
    """
    search = _Search(session, session.limits.locate_statements_max)
    try:
        for plan, staging, encoding in parts:
            with touching(plan.shape.schema, plan.shape.name):
                await search.load(plan, staging, encoding)
    except _BudgetSpent:
        pass
    if search.refusals:
        raise RowsRefused(list(search.refusals.values()))


class _BudgetSpent(Exception):  # noqa: N818 - not an error
    """Enough rows found for this time; the next flush goes on without them."""


def _named_row(error: BaseException, count: int) -> int | None:
    """Which of `count` copied rows it was, if that is certain.

    Only a value that cannot be read fails at its own line. Rows are written many at a time, and an error of
    writing (too wide) names the last line that was read.
    """
    if count == 1:
        return 0
    line = _LINE.search(context(error)) if sqlstate(error)[:2] == "22" else None
    return int(line[1]) - 1 if line is not None and int(line[1]) <= count else None


class _Search:
    def __init__(self, session: Session, failures_max: int) -> None:
        self._session = session
        self._failures_left = failures_max
        self.refusals: dict[int, Refused] = {}

    async def load(self, plan: Plan, staging: Staging, encoding: Encoding) -> None:
        rows = [(ordinal, numbered(row, ordinal)) for ordinal, row in enumerate(encoding.rows())]
        await staging.begin(self._session)
        await self._copy(plan, staging, encoding, rows)
        await self._merge(plan, staging, encoding, 0, len(rows))

    async def _copy(self, plan: Plan, staging: Staging, encoding: Encoding, rows: list[_Numbered]) -> None:
        """Stage the rows but those that do not even go into a staging table."""
        if not rows:
            return
        await self._session.execute("SAVEPOINT part")
        try:
            stream = (row for _, row in rows)
            await merge.copy_rows(self._session, "pg_temp", staging.name, [ORDINAL, *staging.columns], stream)
        except TRANSLATED as error:
            if not self._row_fault(error, plan):
                raise
            await self._undo()
            at = _named_row(error, len(rows))
            if at is None:
                middle = len(rows) // 2
                await self._copy(plan, staging, encoding, rows[:middle])
                await self._copy(plan, staging, encoding, rows[middle:])
            else:
                self._refuse(encoding, rows[at][0], error)
                await self._copy(plan, staging, encoding, rows[:at])
                await self._copy(plan, staging, encoding, rows[at + 1 :])
        else:
            await self._session.execute("RELEASE SAVEPOINT part")

    async def _merge(self, plan: Plan, staging: Staging, encoding: Encoding, first: int, end: int) -> None:
        """Merge the rows numbered first … end - 1, without those that are refused."""
        await self._session.execute("SAVEPOINT part")
        try:
            await merge.merge(self._session, plan, staging, f"s.{ORDINAL} >= {first} AND s.{ORDINAL} < {end}")
        except TRANSLATED as error:
            if not (is_repeat(error) or self._row_fault(error, plan)):
                raise
            await self._undo()
            if end - first == 1:
                self._refuse(encoding, first, error)
            else:
                middle = (first + end) // 2
                await self._merge(plan, staging, encoding, first, middle)
                await self._merge(plan, staging, encoding, middle, end)
        else:
            await self._session.execute("RELEASE SAVEPOINT part")

    async def _undo(self) -> None:
        await self._session.execute("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")

    def _row_fault(self, error: BaseException, plan: Plan) -> bool:
        shape = plan.shape
        if not is_data_shaped(error, shape.schema, shape.name, partitioned=shape.partitioned):
            return False
        self._failures_left -= 1
        if self._failures_left < 0 and self.refusals:
            raise _BudgetSpent from error
        return True

    def _refuse(self, encoding: Encoding, ordinal: int, error: BaseException) -> None:
        offset = encoding.offset_of(ordinal)
        self.refusals.setdefault(offset, Refused(offset, describe(error), sqlstate(error)))
