"""Facts about a postmaster that may be running: its pid file, its process, its shared memory.

Nothing here starts or changes anything but `stop`, which signals. A pid alone proves nothing (it may have
been reused after a crash or a container restart), so a postmaster is only believed when its command line
names our cluster.
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02
KILL_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Postmaster:
    """What `postmaster.pid` says; the shared memory id comes once the server has got that far."""

    pid: int
    port: int
    shared_memory_id: int | None
    status: str

    @property
    def ready(self) -> bool:
        """Whether the server says that it takes connections."""
        return self.status == "ready"


def read_pid_file(cluster: Path) -> Postmaster | None:
    """Parse the pid file; None if there is none or it is not complete enough to hold a pid."""
    try:
        lines = (cluster / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    lines += [""] * 8
    port = int(lines[3]) if lines[3].strip().isdigit() else 0
    memory = lines[6].split()
    return Postmaster(pid, port, int(memory[1]) if len(memory) == 2 else None, lines[7].strip())


def serves(pid: int, cluster: Path) -> bool:
    """Whether process `pid` is alive and is a postmaster of this cluster."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return False
    if state in (b"Z", b"X") or b"-D" not in words[:-1]:
        return False
    option = words.index(b"-D")
    # On a machine of another kind (an image for x86-64 on arm64), the emulator comes first.
    named = any(word.endswith(b"postgres") for word in words[:option])
    return named and Path(os.fsdecode(words[option + 1])) == cluster


def exists(pid: int) -> bool:
    """Whether any process has that pid."""
    return Path(f"/proc/{pid}").exists()


def attached(shared_memory_id: int) -> int:
    """How many processes still use the shared memory of a postmaster; backends outlive a killed one for a
    moment.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/sysvipc/shm").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if int(fields[1]) == shared_memory_id:
                return int(fields[6])
    return 0


def stop(pid: int, cluster: Path, timeout_s: float) -> str:
    """Stop a postmaster: fast, then immediate (it recovers at its next start), then killed; says which one
    did it.

    Takes at most `timeout_s` plus twice `KILL_GRACE_S`.
    """
    steps = ((signal.SIGINT, timeout_s, "fast"), (signal.SIGQUIT, KILL_GRACE_S, "immediate"))
    for number, bound_s, name in (*steps, (signal.SIGKILL, KILL_GRACE_S, "killed")):
        if not serves(pid, cluster):
            return name
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if _gone_within(pid, cluster, bound_s):
            return name
    return "unkillable"


def _gone_within(pid: int, cluster: Path, bound_s: float) -> bool:
    deadline = time.monotonic() + bound_s
    while serves(pid, cluster):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
