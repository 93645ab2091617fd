"""One server with its database for the whole module: the contract is about answers and rows, not state."""

from collections.abc import Iterator

import pytest

from tests.conftest import fresh_database
from tests.running import Penstock, configuration, free_port


@pytest.fixture(scope="module")
def warehouse(postgres_url: str) -> Iterator[str]:
    """URL of a database of this module's own."""
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, warehouse: str) -> Iterator[Penstock]:
    folder = tmp_path_factory.mktemp("contract")
    streams = {
        "limited": {
            "name": "Limited",
            "server_keys": ["lim:it"],
            "server_rate_limit": {"events_per_second": 1, "burst": 3},
        },
        "host": {
            "name": "By host",
            "domains": ["data.example.com"],
            "domain_fallback": True,
            "origins": ["*"],
        },
        "private": {
            "name": "Private",
            "browser_keys": ["priv:ate", "priv:a/t+e="],
            "origins": ["*"],
            "ip_policy": "stripLastOctet",
        },
    }
    conf = configuration(free_port(), folder / "data", warehouse, streams=streams)
    conf["server"]["trusted_proxies"] = ["127.0.0.1/32"]
    for stream in ("limited", "host", "private"):
        conf["links"][f"{stream}-link"] = {"from": stream, "to": "warehouse", "data": {"mode": "stream"}}
    running = Penstock(folder, conf).start()
    yield running
    assert running.stop() == 0
