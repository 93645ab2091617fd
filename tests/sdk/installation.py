"""The public SDKs at the versions of `drivers/`, installed once in a cache folder outside the repository:
`PENSTOCK_SDK_HOME`, else `~/.cache/penstock-sdks`. What cannot be had there is said in words.
"""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

DRIVERS = Path(__file__).parent / "drivers"
HOME = Path(os.environ.get("PENSTOCK_SDK_HOME") or Path.home() / ".cache" / "penstock-sdks")

_INSTALL_TIMEOUT_S = 900
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """A browser that playwright can drive."""
    found = (shutil.which(name) for name in _BROWSERS)
    return os.environ.get("CHROMIUM") or next((path for path in found if path), None)


@cache
def install() -> str | None:
    """Install everything that can be; why not all of it, None if all is there. Blocking, minutes."""
    stamp = HOME / f"installed-{_version()}"
    if stamp.exists():
        return None
    HOME.mkdir(parents=True, exist_ok=True)
    try:
        ended = subprocess.run(
            ["sh", str(DRIVERS / "setup.sh")],
            env={**os.environ, "SDK_HOME": str(HOME)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not installed within {_INSTALL_TIMEOUT_S} s"
    if ended.returncode:
        return ended.stdout.decode(errors="replace").strip()[-300:]
    stamp.touch()
    return None


def _version() -> str:
    """Changes with what is to be installed."""
    wanted = [DRIVERS / "setup.sh", *sorted(DRIVERS.glob("*/package.json"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in wanted)).hexdigest()[:12]
