"""A Postgres that speaks TLS, and throw-away certificates for it.

The programs of the embedded Postgres are built without TLS, so these are the operating system's; `.ci/run`
installs them. Nothing of it outlives the test module.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.running import free_port

KEY_PASSWORD = "sesame"
_HBA = """
host all postgres 127.0.0.1/32 trust
hostssl all tls_only 127.0.0.1/32 trust
hostnossl all plain_only 127.0.0.1/32 trust
hostssl all by_cert 127.0.0.1/32 cert
"""
_ROLES = (
    "CREATE ROLE tls_only SUPERUSER LOGIN; CREATE ROLE plain_only SUPERUSER LOGIN; CREATE ROLE by_cert LOGIN"
)


@dataclass(frozen=True, slots=True)
class TlsServer:
    """Where it is; `folder` holds ca, other-ca, server, client, stranger, someone (.crt, .key)."""

    folder: Path
    port: int

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


def programs() -> Path:
    """The folder of the newest Postgres of the operating system."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not found or shutil.which("openssl") is None:
        pytest.skip("needs a Postgres built with TLS, and openssl: apt-get install postgresql openssl")
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        pytest.skip(f"initdb wants a name in /etc/passwd, and uid {os.geteuid()} has none")
    return found[-1].parent


@contextmanager
def tls_server() -> Iterator[TlsServer]:
    """Make, start, stop and remove it."""
    binaries = programs()
    # Not below pytest's folder: as root the server runs as nobody, who may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="penstock-tls-"))
    try:
        _certificates(folder)
        port = free_port()
        _hand_over(folder)
        data = folder / "data"
        _run(binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        (data / "pg_hba.conf").write_text(_HBA)
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c ssl=on "
            f"-c ssl_cert_file={folder}/server.crt -c ssl_key_file={folder}/server.key "
            f"-c ssl_ca_file={folder}/ca.crt"
        )
        _run(binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            at = ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-qc")
            _run(binaries / "psql", *at, _ROLES)
            yield TlsServer(folder, port)
        finally:
            _run(binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _certificates(folder: Path) -> None:
    for authority in ("ca", "other-ca"):
        _openssl(
            folder, f"req -x509 -subj /CN={authority} -days 2 -keyout {authority}.key -out {authority}.crt"
        )
    _signed(folder, "server", "ca", "db.internal", "DNS:localhost")
    _signed(folder, "client", "ca", "by_cert")
    _signed(folder, "someone", "ca", "someone_else")
    _signed(folder, "stranger", "other-ca", "by_cert")
    _openssl(folder, f"ec -in client.key -aes256 -passout pass:{KEY_PASSWORD} -out locked.key")


def _signed(folder: Path, name: str, authority: str, subject: str, names: str = "DNS:unused") -> None:
    _openssl(
        folder, f"req -subj /CN={subject} -addext subjectAltName={names} -keyout {name}.key -out {name}.csr"
    )
    _openssl(
        folder,
        f"x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial "
        f"-days 2 -copy_extensions copy -out {name}.crt",
    )


def _openssl(folder: Path, words: str) -> None:
    command = ["openssl", *words.split()]
    if command[1] == "req":
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def _hand_over(folder: Path) -> None:
    """To the user that the server runs as, if that is not us."""
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700 if path.is_dir() else 0o600)
        if os.geteuid() == 0:
            shutil.chown(path, "nobody")


def _run(*command: object) -> None:
    user = "nobody" if os.geteuid() == 0 else None
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd="/", user=user, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
