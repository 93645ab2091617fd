"""Which user the embedded Postgres runs as, and with which capabilities.

Postgres refuses uid 0. As an ordinary user it simply runs as that user. As root it runs under a numeric uid
that has no entry anywhere and owns the cluster folder alone: no OS user is made, no permission outside that
folder is changed. If that uid cannot reach the programs or the folder by permission bits (a 0700 home), it
gets one ambient capability for it, the weakest that is enough; if the container has dropped that one too, we
refuse.

initdb alone insists on a name for its uid in /etc/passwd, so as root it runs as `nobody` and the folder is
handed over afterwards; an ordinary user without a name (a container's arbitrary uid) borrows one inside a
user namespace.
"""

import contextlib
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from server.embedded.errors import EmbeddedError

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP = (
    0,
    1,
    2,
    5,
    6,
    7,
    8,
)
_NAMES = {
    0: "CHOWN",
    1: "DAC_OVERRIDE",
    2: "DAC_READ_SEARCH",
    5: "KILL",
    6: "SETGID",
    7: "SETUID",
    8: "SETPCAP",
}
UIDS = range(58_300, 58_400)
"""Above what adduser gives out, below what Debian and systemd reserve."""
ELSEWHERE = (
    "run Penstock as an ordinary user, give the container those capabilities, "
    "or point the destination at a Postgres of your own with `datasource`"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What `launcher.py` is asked to become; uid None = who we are."""

    uid: int | None = None
    gid: int | None = None
    capabilities: tuple[int, ...] = ()
    alias_uid: int | None = None

    def order(self) -> dict[str, object]:
        """The JSON object of the launcher."""
        return asdict(self)


def server_identity(owner: int | None, needed: Iterable[Path], folder: Path) -> Identity:
    """Who runs the server: `owner` is the uid that owns the cluster, None if there is none yet."""
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise EmbeddedError(
                f"the cluster in {folder} belongs to uid {owner}, but Penstock runs as uid {os.geteuid()}",
                "start Penstock as the user who started it first, or use another --data directory",
            )
        return Identity()
    _require(CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_KILL, CAP_DAC_OVERRIDE)
    uid = owner if owner else _unused_uid()
    return Identity(uid, uid, _capabilities(uid, needed, folder))


def initdb_identity(server: Identity, needed: Iterable[Path], folder: Path) -> Identity:
    """Who runs initdb for a server of that identity: the same, but with a name in /etc/passwd."""
    if server.uid is not None:
        uid, gid = _named_user()
        return Identity(uid, gid, _capabilities(uid, needed, folder))
    if _has_name(os.geteuid()):
        return server
    return Identity(alias_uid=_named_user()[0])


def _capabilities(uid: int, needed: Iterable[Path], folder: Path) -> tuple[int, ...]:
    """The weakest capability with which `uid` can use the programs and reach the folder; often none."""
    paths = list(needed)
    if _allowed(folder, uid, 0o1) and all(_allowed(path, uid, 0o5) for path in paths):
        return ()
    files_run = all(_allowed_itself(path, uid, 0o5) for path in paths if path.is_file())
    _require(CAP_SETPCAP)
    if files_run and CAP_DAC_READ_SEARCH in held_capabilities():
        return (CAP_DAC_READ_SEARCH,)
    return (CAP_DAC_OVERRIDE,)


def _allowed(path: Path, uid: int, bits: int) -> bool:
    return _allowed_itself(path, uid, bits) and all(
        _allowed_itself(parent, uid, 0o1) for parent in path.parents
    )


def _allowed_itself(path: Path, uid: int, bits: int) -> bool:
    """Whether permission bits alone let `uid` (whose only group has the same number) do `bits` (r 4, x 1)."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    shift = 6 if found.st_uid == uid else 3 if found.st_gid == uid else 0
    return (mode >> shift) & bits == bits


def held_capabilities() -> frozenset[int]:
    """The effective capabilities of this process."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(number for number in range(64) if mask >> number & 1)
    return frozenset()


def _require(*capabilities: int) -> None:
    missing = [_NAMES[number] for number in capabilities if number not in held_capabilities()]
    if missing:
        raise EmbeddedError(
            f"root may not run the embedded Postgres here: missing capabilities {', '.join(missing)}",
            ELSEWHERE,
        )


def _unused_uid() -> int:
    """The first uid of the range that has no name and runs no process; the same on every start of one
    machine.
    """
    busy = set(_process_uids())
    for uid in UIDS:
        if uid not in busy and not _has_name(uid):
            return uid
    raise EmbeddedError(f"no unused uid from {UIDS.start} to {UIDS.stop - 1}", ELSEWHERE)


def _process_uids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError):  # the process may end while we look
                yield entry.stat().st_uid


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _named_user() -> tuple[int, int]:
    """Uid and gid of `nobody`, else of any user but root."""
    entries = sorted(pwd.getpwall(), key=lambda entry: entry.pw_name != "nobody")
    for entry in entries:
        if entry.pw_uid != 0:
            return entry.pw_uid, entry.pw_gid
    raise EmbeddedError("initdb needs a user in /etc/passwd, and there is none but root", ELSEWHERE)
