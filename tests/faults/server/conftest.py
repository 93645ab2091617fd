"""A server on a fresh data directory and a fresh database."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.embedded import EmbeddedPostgres
from tests.running import Penstock, configuration, free_port
from tests.small_disk import mounted

StartFunction = Callable[..., Penstock]


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[StartFunction]:
    """A function that makes (not starts) a server; all of them are killed at the end."""
    made: list[Penstock] = []

    def make(
        database: str | None,
        *,
        data: Path | None = None,
        environment: dict[str, str] | None = None,
        **sections: dict[str, object],
    ) -> Penstock:
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        conf = configuration(free_port(), data or tmp_path / "data", database, **sections)
        for link in conf["links"].values():
            link["data"]["deduplicate"] = False  # a merge would hide a second delivery
        made.append(Penstock(folder, conf, environment or {}))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
        _end_embedded(Path(server.conf["store"]["path"]))


def _end_embedded(data: Path) -> None:
    """A failed test leaves no Postgres behind."""
    postgres = EmbeddedPostgres(data)
    if postgres.running() is not None:
        postgres.start()  # adopts it
        postgres.stop(10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MB."""
    with mounted(tmp_path / "disk", 96) as disk:
        yield disk
