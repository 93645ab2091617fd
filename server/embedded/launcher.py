"""Runs in a fresh child process: becomes the server's user, then executes a Postgres program.

It is started by path with `python -I -S` (no site, no project imports), because changing user with
capabilities is only safe in a process that has one thread and nothing open. `privileges.py` decides what is
asked of it.

argv: a JSON object {uid, gid, capabilities, alias_uid}, then the program and its arguments.
- uid null: stay who we are. alias_uid: first enter a user namespace where we are called by that uid, so that
  initdb finds a name for it in /etc/passwd.
- capabilities: numbers that survive the change of user and the exec, as ambient capabilities. For them the
  no-setuid-fixup securebit is set, without which access(2) would ignore them (capabilities(7)).
"""

import contextlib
import ctypes
import json
import os
import sys
from pathlib import Path

PR_SET_SECUREBITS = 28
PR_GET_SECUREBITS = 27
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000
EXIT_CANNOT = 71
"""Exit status (EX_OSERR) when the user could not be changed; the reason is on standard error."""

NICENESS = 10
"""How much less of a busy processor the server gets than the process that takes events."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, first: int, second: int, what: str) -> int:
    arguments = [ctypes.c_ulong(value) for value in (first, second, 0, 0)]
    return _check(_libc.prctl(option, *arguments), what)


def _keep_only(capabilities: list[int]) -> None:
    mask = sum(1 << number for number in capabilities)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    halves = [half for word in (mask & 0xFFFFFFFF, mask >> 32) for half in (word, word, word)]
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)(*halves)), "capset")
    for number in capabilities:
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, "raise an ambient capability")


def _become(uid: int, gid: int, capabilities: list[int]) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    if capabilities:
        bits = _prctl(PR_GET_SECUREBITS, 0, 0, "read the securebits")
        _prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, "set no-setuid-fixup")
    os.setresuid(uid, uid, uid)
    if capabilities:
        _keep_only(capabilities)


def _enter_alias(alias_uid: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _check(_libc.unshare(CLONE_NEWUSER), "enter a user namespace")
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{alias_uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, line.encode())
        os.close(descriptor)


def _give_way() -> None:
    """Events are taken in first: on a box of few cores a merge would otherwise hold up the answers."""
    os.nice(NICENESS)
    if os.getsid(0) == os.getpid():
        # Where the kernel groups sessions, niceness counts within the session only (sched(7), autogroup).
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS))


def main(arguments: list[str]) -> None:
    """Change user as asked and execute the program; only returns by an exception."""
    order = json.loads(arguments[0])
    program = arguments[1:]
    os.umask(0o077)
    os.chdir("/")
    if order["alias_uid"] is not None:
        _enter_alias(order["alias_uid"])
    if order["uid"] is not None:
        _become(order["uid"], order["gid"], order["capabilities"])
    _prctl(PR_SET_NO_NEW_PRIVS, 1, 0, "set no-new-privs")
    _give_way()
    os.execv(program[0], program)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        print(f"launcher: {error}", file=sys.stderr)
        sys.exit(EXIT_CANNOT)
