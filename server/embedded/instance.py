"""One embedded Postgres: start, adopt, keep alive, stop.

Invariants: at most one postmaster per cluster (Postgres' own pid file and shared memory decide, we never
remove what they still need); fsync is on; the server listens on 127.0.0.1 only, with a password; every wait
has a bound. Thread: any, one call at a time (a lock); every call blocks.
"""

import asyncio
import contextlib
import logging
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from server.embedded import cluster as cluster_folder
from server.embedded import launcher, postmaster
from server.embedded.binaries import Binaries, find_binaries
from server.embedded.cluster import DATABASE, USERNAME
from server.embedded.errors import EmbeddedError
from server.embedded.privileges import Identity, initdb_identity, server_identity

logger = logging.getLogger("penstock.embedded")

HOST = "127.0.0.1"
PORTS = range(15_432, 15_532)
"""Below the range the kernel hands out for outgoing connections, so the port stays the same for years."""
START_TIMEOUT_S = 180.0
"""Covers crash recovery of a full `max_wal_size` on a slow disk."""
CONNECT_TIMEOUT_S = 10.0
PORT_ATTEMPTS = 3
SEE_LOG = "see its log below"
LOG_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """How to log in; the password is a secret and is left out of `repr`."""

    host: str
    port: int
    database: str
    username: str
    password: str

    def __repr__(self) -> str:
        return f"PostgresAddress({self.username}@{self.host}:{self.port}/{self.database})"

    @property
    def url(self) -> str:
        """A libpq URL, with the password."""
        return f"postgresql://{self.username}:{quote(self.password)}@{self.host}:{self.port}/{self.database}"


class _PortTakenError(Exception):
    """Another process took the port between our look and the server's bind."""


class _EndedError(Exception):
    """The server ended before it was ready. `status`: its exit status, None if it was not our child."""

    def __init__(self, status: int | None) -> None:
        super().__init__(status)
        self.status = status


class _NotNowError(EmbeddedError):
    """It is there but takes no connections at this moment."""


class EmbeddedPostgres:
    """The server below `<data_dir>/postgres`. `adopted`: it was already running and was taken over."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = (data_dir / "postgres").absolute()
        self.cluster = self.folder / "cluster"
        self.log = self.folder / "server.log"
        self.adopted = False
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._lock = threading.Lock()

    def start(self) -> PostgresAddress:
        """Start or adopt the server; returns when it takes connections. Raises `EmbeddedError`."""
        with self._lock, self._in_words():
            return self._start()

    def ensure(self) -> PostgresAddress | None:
        """Start the server again if it has died since `start`; None if it is alive."""
        with self._lock, self._in_words():
            if self._alive():
                return None
            logger.warning("the embedded Postgres has ended by itself; starting it again")
            return self._start()

    def dump_line(self, address: PostgresAddress, file: str) -> str:
        """A shell line that dumps its database to a file, with no secret in it."""
        program = shlex.quote(str(find_binaries().folder / "pg_dump"))
        secret = shlex.quote(str(self.cluster / cluster_folder.PASSWORD_FILE))
        login = f"-h {address.host} -p {address.port} -U {address.username} -d {address.database}"
        return f'PGPASSWORD="$(cat {secret})" {program} {login} -Fc -f {file}'

    def running(self) -> PostgresAddress | None:
        """Where a server is running here, whoever started it; None: there is none. Raises `EmbeddedError`."""
        try:
            found = postmaster.read_pid_file(self.cluster)
        except PermissionError as error:
            message = f"{self.cluster} belongs to another user"
            raise EmbeddedError(message, "use the user that runs Penstock (root, perhaps)") from error
        if found is None or not found.ready or not postmaster.serves(found.pid, self.cluster):
            return None
        return PostgresAddress(HOST, found.port, DATABASE, USERNAME, cluster_folder.password(self.cluster))

    def stop(self, timeout_s: float = 30.0) -> None:
        """Fast shutdown, within `timeout_s`; then harder means that cost a recovery, not data. Idempotent."""
        with self._lock:
            pid, self._pid = self._pid, None
            if pid is None:
                return
            how = postmaster.stop(pid, self.cluster, timeout_s)
            self._reap()
            logger.log(
                logging.INFO if how == "fast" else logging.WARNING,
                "the embedded Postgres has stopped (%s)",
                how,
            )

    def _start(self) -> PostgresAddress:
        binaries = find_binaries()
        _make_folder(self.folder)
        server = server_identity(self._owner(), binaries.needed, self.folder)
        _rotate(self.log)
        self._prepare(binaries, server)
        secret = cluster_folder.password(self.cluster)
        running = postmaster.read_pid_file(self.cluster)
        if running is not None and postmaster.serves(running.pid, self.cluster):
            with contextlib.suppress(_EndedError):  # it was on its way out: start another
                return self._adopt(running.pid, secret)
        self._reap()
        self._pid, self.adopted = None, False
        cluster_folder.check_fsync(self.cluster, binaries)
        if running is not None:
            self._settle(running)
        return self._launch(binaries, server, secret)

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """The operating system's errors, said as ours."""
        try:
            yield
        except OSError as error:
            message = f"the embedded Postgres cannot be started: {error}"
            raise EmbeddedError(message, f"check the disk and the permissions of {self.folder}") from error
        except subprocess.TimeoutExpired as error:
            message = f"{error.cmd[0]} was not done after {error.timeout:.0f} s"
            raise EmbeddedError(message, "check the disk and the load of this machine") from error

    def _prepare(self, binaries: Binaries, server: Identity) -> None:
        if self.cluster.exists():
            cluster_folder.check_version(self.cluster, binaries)
            cluster_folder.adopt_ownership(self.cluster, server)
            return
        initdb = initdb_identity(server, binaries.needed, self.folder)
        cluster_folder.create(self.cluster, binaries, server, initdb, self.log)

    def _owner(self) -> int | None:
        return self.cluster.stat().st_uid if self.cluster.exists() else None

    def _adopt(self, pid: int, secret: str) -> PostgresAddress:
        """Take over a postmaster that outlived us; a real login to our cluster is the proof."""
        if self._process is None or self._process.pid != pid:
            self._reap()
            self.adopted = True
        self._pid = pid
        address, found = self._log_in(pid, secret)
        if found["fsync"] != "on" or found["full_page_writes"] != "on":
            self._pid = None
            raise EmbeddedError(
                f"a Postgres with fsync or full_page_writes off is running on {self.cluster}",
                f"stop it (kill -INT {pid}) and remove those lines from postgresql.conf",
            )
        logger.info("adopted the embedded Postgres that was still running on port %d", address.port)
        return address

    def _log_in(self, pid: int, secret: str) -> tuple[PostgresAddress, dict[str, str]]:
        """Log in to postmaster `pid` once it lets us; one that is shutting down still calls itself ready."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            address = PostgresAddress(HOST, self._await_ready(pid).port, DATABASE, USERNAME, secret)
            try:
                return address, _inspect(address, self.log)
            except _NotNowError:
                self._raise_if_ended(pid)
                if time.monotonic() > deadline:
                    raise
                time.sleep(postmaster.POLL_S)

    def _settle(self, dead: postmaster.Postmaster) -> None:
        """Wait until the backends of a killed postmaster have gone, and take away a pid file that misleads.

        Postgres clears a stale file itself unless the pid was reused by a process it cannot tell from a
        postmaster.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while dead.shared_memory_id is not None and postmaster.attached(dead.shared_memory_id) > 0:
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"processes of a Postgres that has died still use the cluster in {self.cluster}",
                    "end them (`ps aux | grep 'postgres:'`) and start again",
                    self.log,
                )
            time.sleep(postmaster.POLL_S)
        if postmaster.exists(dead.pid):
            (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _launch(self, binaries: Binaries, server: Identity, secret: str) -> PostgresAddress:
        for attempt in range(PORT_ATTEMPTS):
            port = self._choose_port(fresh=attempt > 0)
            try:
                self._spawn(binaries, server, port)
                address = PostgresAddress(HOST, port, DATABASE, USERNAME, secret)
                _inspect(address, self.log)
            except _PortTakenError:
                continue
            except _EndedError as error:
                message = f"Postgres ended while it started (exit status {error.status})"
                raise EmbeddedError(message, SEE_LOG, self.log) from error
            except BaseException:
                self._abandon()
                raise
            logger.info("the embedded Postgres takes connections on port %d", port)
            return address
        raise EmbeddedError("every port tried was taken in the meantime", "start again", self.log)

    def _spawn(self, binaries: Binaries, server: Identity, port: int) -> None:
        held = {"listen_addresses": HOST, "port": str(port), "unix_socket_directories": ""}
        held |= {"logging_collector": "off", "log_destination": "stderr"}
        words = [word for name, value in held.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal must not stop the server before the flushers are
            # done.
            self._process = subprocess.Popen(
                cluster_folder.command(server, binaries.postgres, "-D", str(self.cluster), *words),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=cluster_folder.ENVIRONMENT,
                start_new_session=True,
            )
        self._pid = self._process.pid
        self._await_ready(self._pid)

    def _await_ready(self, pid: int) -> postmaster.Postmaster:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            running = postmaster.read_pid_file(self.cluster)
            if running is not None and running.pid == pid and running.ready:
                return running
            self._raise_if_ended(pid)
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"Postgres was not ready within {START_TIMEOUT_S:.0f} s", SEE_LOG, self.log
                )
            time.sleep(postmaster.POLL_S)

    def _raise_if_ended(self, pid: int) -> None:
        if self._process is None:
            if not postmaster.serves(pid, self.cluster):
                raise _EndedError(None)
            return
        status = self._process.poll()
        if status is None:
            return
        self._process, self._pid = None, None
        if status == launcher.EXIT_CANNOT:
            raise EmbeddedError("Postgres could not be started under its own user", SEE_LOG, self.log)
        raise _PortTakenError if _port_was_taken(self.log) else _EndedError(status)

    def _choose_port(self, fresh: bool) -> int:
        """The port of last time if it is free, else the first free one; kept in a file beside the cluster."""
        file = self.folder / "port"
        file.touch(mode=0o600)
        file.chmod(0o600)  # whatever the umask was when it was made
        with contextlib.suppress(FileNotFoundError, ValueError):
            kept = int(file.read_text("ascii"))
            if not fresh and _free(kept):
                return kept
        port = next((candidate for candidate in PORTS if _free(candidate)), None) or _any_free_port()
        file.write_text(f"{port}\n", "ascii")
        return port

    def _alive(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        return self._pid is not None and postmaster.serves(self._pid, self.cluster)

    def _abandon(self) -> None:
        """A start that failed half-way leaves no server behind."""
        if self._pid is not None:
            postmaster.stop(self._pid, self.cluster, postmaster.KILL_GRACE_S)
            if self._process is not None:
                self._process.kill()  # it may not have become Postgres yet
            self._reap()
            self._pid = None

    def _reap(self) -> None:
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(postmaster.KILL_GRACE_S)
            self._process = None


def _make_folder(folder: Path) -> None:
    """Our own folder: searchable, so that the server's uid gets through to the cluster, and not listable."""
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o711 != 0o711:  # the umask may have taken the search bit
            folder.chmod(0o711)
    except OSError as error:
        raise EmbeddedError(f"cannot use {folder}: {error.strerror}", "give another --data") from error


def _inspect(address: PostgresAddress, log: Path) -> dict[str, str]:
    """Log in for real and read the settings that matter."""

    import asyncpg  # heavy, and only needed once there is a server

    async def read() -> dict[str, str]:
        connection = await asyncpg.connect(address.url, timeout=CONNECT_TIMEOUT_S, ssl=False)
        try:
            names = ("fsync", "full_page_writes")
            return {name: await connection.fetchval("SELECT current_setting($1)", name) for name in names}
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_S)

    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(read())
    except Exception as error:
        passing = (asyncpg.OperatorInterventionError, asyncpg.PostgresConnectionError, ConnectionError)
        kind = _NotNowError if isinstance(error, passing) else EmbeddedError
        raise kind(f"cannot log in to the embedded Postgres: {error}", SEE_LOG, log) from error
    finally:
        loop.close()


def _port_was_taken(log: Path) -> bool:
    with contextlib.suppress(OSError):
        return b"could not create any TCP/IP sockets" in log.read_bytes()[-2048:]
    return False


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_name(log.name + ".1"))
    log.touch(mode=0o600)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
