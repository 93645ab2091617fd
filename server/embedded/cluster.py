"""The cluster folder: made by initdb, with the role and the database in it, complete or not there at all.

It is built beside its place and renamed, so a crash in the middle leaves nothing that looks finished. The
password of the role lies inside it (0600): folder and password belong together, in a backup too. The
superuser has no password and therefore cannot log in.
"""

import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from server.embedded import launcher
from server.embedded.binaries import Binaries
from server.embedded.errors import EmbeddedError
from server.embedded.privileges import Identity

logger = logging.getLogger("penstock.embedded")

SUPERUSER, USERNAME, DATABASE = "postgres", "penstock", "events"
PASSWORD_FILE = "penstock.password"
UNFINISHED = "cluster.new."
INIT_TIMEOUT_S = 180.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""Nothing is inherited: PG* variables and LD_PRELOAD of our own process are not meant for the server."""

# What initdb writes into postgresql.conf; from then on the file is the operator's.
DEFAULTS = {
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    "max_connections": "40",
    "max_wal_size": "1GB",
    "max_parallel_workers_per_gather": "0",  # no second core to spare beside ingest
    "io_method": "sync",  # three worker processes fewer
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failed statement is logged with values of the row, and rows are people's data: only the server's own
    # life is.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
HBA = f"host all {USERNAME} 127.0.0.1/32 scram-sha-256\n"


def command(identity: Identity, program: Path, *arguments: str) -> list[str]:
    """The command line that runs a Postgres program as that identity, through the launcher."""
    order = json.dumps(identity.order())
    return [sys.executable, "-I", "-S", launcher.__file__, order, str(program), *arguments]


def create(cluster: Path, binaries: Binaries, server: Identity, initdb: Identity, log: Path) -> None:
    """Make the cluster; returns with it complete and durable, or raises `EmbeddedError` and leaves none."""
    for left in cluster.parent.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
    # A name of its own: an initdb that outlived a kill -9 of us must not write into ours.
    unfinished = cluster.with_name(f"{UNFINISHED}{secrets.token_hex(4)}")
    unfinished.mkdir(mode=0o700)
    logger.info("making the embedded Postgres cluster in %s", cluster)
    try:
        _hand_over(unfinished, initdb)
        _run_initdb(unfinished, binaries, initdb, log)
        _create_role(unfinished, binaries, initdb, log)
        _hand_over(unfinished, server)
        unfinished.rename(cluster)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync_folder(cluster.parent)


def password(cluster: Path) -> str:
    """The password of the role; raises `EmbeddedError` if its file is gone."""
    try:
        return (cluster / PASSWORD_FILE).read_text("ascii").strip()
    except FileNotFoundError as error:
        raise EmbeddedError(
            f"{cluster / PASSWORD_FILE} is missing",
            "put it back from a backup of the folder; without it nobody can log in to this cluster",
        ) from error


def check_version(cluster: Path, binaries: Binaries) -> None:
    """Refuse a cluster of another major version: its files mean something else."""
    found = (cluster / "PG_VERSION").read_text("ascii").strip()
    if found != str(binaries.major):
        raise EmbeddedError(
            f"the cluster in {cluster} is of Postgres {found}, the programs are of Postgres {binaries.major}",
            "dump its tables with the Penstock that made it; load them into a new --data directory",
        )


def check_fsync(cluster: Path, binaries: Binaries) -> None:
    """Refuse a configuration that turned fsync off: "delivered" would not mean durable any more."""
    for name in ("fsync", "full_page_writes"):
        asked = [str(binaries.postgres), "-C", name, "-D", str(cluster)]
        result = subprocess.run(
            asked, env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False
        )
        if result.returncode != 0:
            raise EmbeddedError(
                f"Postgres does not accept its configuration: {result.stderr.strip()}",
                f"correct postgresql.conf and postgresql.auto.conf in {cluster}",
            )
        if result.stdout.strip() != "on":
            raise EmbeddedError(
                f"{name} is {result.stdout.strip()} in the configuration of {cluster}",
                f"remove that line from postgresql.conf or postgresql.auto.conf: Penstock needs {name} = on",
            )


def adopt_ownership(cluster: Path, server: Identity) -> None:
    """Give a cluster that lies there as root's (restored by root, say) to the server's uid."""
    if server.uid is not None and cluster.stat().st_uid != server.uid:
        _hand_over(cluster, server)


def _run_initdb(cluster: Path, binaries: Binaries, identity: Identity, log: Path) -> None:
    settings = [word for name, value in DEFAULTS.items() for word in ("-c", f"{name}={value}")]
    # The builtin locale is the same on every machine; the operating system's may be missing or change its
    # sorting.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--encoding=UTF8"]
    arguments = [
        "-D",
        str(cluster),
        "-U",
        SUPERUSER,
        *locale,
        "--auth=reject",
        "--no-instructions",
        *settings,
    ]
    _run(command(identity, binaries.initdb, *arguments), None, log, "initdb failed")
    (cluster / "pg_hba.conf").write_text(HBA, "ascii")


def _create_role(cluster: Path, binaries: Binaries, identity: Identity, log: Path) -> None:
    chosen = secrets.token_hex(24)
    file = cluster / PASSWORD_FILE
    file.touch(mode=0o600)
    file.write_text(chosen + "\n", "ascii")
    statements = (
        f"CREATE ROLE {USERNAME} LOGIN CREATEDB PASSWORD '{chosen}'\n"
        f"GRANT pg_monitor TO {USERNAME}\n"
        f"CREATE DATABASE {DATABASE} OWNER {USERNAME}\n"
    )
    # Single-user mode needs no login, and its exit writes everything out with fsync.
    arguments = ["--single", "-D", str(cluster), "-c", "exit_on_error=on", "postgres"]
    _run(command(identity, binaries.postgres, *arguments), statements, log, "the role could not be made")


def _run(words: list[str], text: str | None, log: Path, failure: str) -> None:
    with log.open("ab") as output:
        try:
            result = subprocess.run(
                words,
                input=None if text is None else text.encode(),
                stdin=subprocess.DEVNULL if text is None else None,
                stdout=subprocess.DEVNULL if text is not None else output,
                stderr=output,
                env=ENVIRONMENT,
                timeout=INIT_TIMEOUT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(
                f"{failure}: not done after {INIT_TIMEOUT_S:.0f} s",
                "is the disk working, and has it room?",
                log,
            ) from error
    if result.returncode == launcher.EXIT_CANNOT:
        raise EmbeddedError(
            "this machine does not let Penstock start Postgres under the user it needs",
            "run Penstock as a user with a name in /etc/passwd, or give a `datasource` of your own Postgres",
            log,
        )
    if result.returncode != 0:
        raise EmbeddedError(
            f"{failure} (exit status {result.returncode})", "see the lines below; often the disk is full", log
        )


def _hand_over(folder: Path, identity: Identity) -> None:
    """Make a tree belong to the identity's uid; does nothing when that is who we are."""
    if identity.uid is None or identity.gid is None:
        return
    os.chown(folder, identity.uid, identity.gid)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root) / name, identity.uid, identity.gid, follow_symlinks=False)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
