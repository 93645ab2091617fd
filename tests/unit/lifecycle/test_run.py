"""What is known while only the first stage is there."""

from pathlib import Path

import pytest

from server.clock import SystemClock
from server.run import Run
from server.settings import load
from server.translation.store import store_options
from storage import Store

_CONF = """
store: {path: %s}
streams: {site: {server_keys: ["s:secret"]}}
destinations: {warehouse: {type: postgres, datasource: {host: 127.0.0.1, db: events, username: nobody}}}
links: {link: {from: site, to: warehouse, data: {%s}}}
"""


@pytest.mark.parametrize(("data", "dated"), [("", False), ("startFrom: now", True)])
async def test_a_run_without_delivery(tmp_path: Path, data: str, dated: bool) -> None:
    (tmp_path / "penstock.yaml").write_text(_CONF % (tmp_path / "data", data))
    config = load(tmp_path / "penstock.yaml", {}, {})
    store = Store.open(config.data_dir, store_options(config), SystemClock())
    try:
        run = Run(config, store, SystemClock())
        assert run.keep_after() is None  # nothing is trimmed
        assert run.has_dated_links is dated
        run.tick()
        assert run.closed == {}
    finally:
        store.close()
