"""An fsync fails under the running server: waiters get 503, the process ends, what was answered 200 lives."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.server.conftest import StartFunction
from tests.faults.shim import build_shim, shim_environment
from tests.running import Sender, delivered, endless, eventually


@pytest.mark.parametrize("where", ["/wal/", "/catalog/"])
async def test_a_failed_fsync_ends_the_process_and_loses_nothing(
    make_server: StartFunction, database: str, tmp_path: Path, where: str
) -> None:
    failing = tmp_path / "fail-sync"
    shim = shim_environment(build_shim(tmp_path), tmp_path / "data", fail_sync=failing)
    server = await asyncio.to_thread(make_server(database, environment=shim).start)
    sender = Sender(server.port, workers=8, batch=5)
    sending = asyncio.create_task(sender.send(endless("f")))
    await asyncio.to_thread(eventually, lambda: len(sender.acknowledged) > 500, "events are taken")
    failing.write_text(where)
    assert await asyncio.to_thread(server.ended_within, 20)
    assert server.stop() == 1
    assert "the store failed" in server.log
    answered, refused = len(sender.acknowledged), sender.statuses.get(503, 0)
    failing.unlink()
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(eventually, lambda: len(sender.acknowledged) > answered + 500, "it goes on")
    sender.finish()
    await sending
    await asyncio.to_thread(server.drained)
    assert sorted(await asyncio.to_thread(delivered, database)) == sorted(sender.acknowledged)
    assert set(sender.statuses) <= {200, 503}
    # Events that wait for the failed fsync are refused; beside the catalog's, none need be waiting.
    assert refused > 0 or where == "/catalog/"
    assert await asyncio.to_thread(server.stop) == 0
