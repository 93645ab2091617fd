"""The drivers as processes: each exercises one unmodified SDK against an endpoint and ends."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.sdk.installation import DRIVERS, HOME, chromium, install

KEY = "wk_test_0123456789abcdef"
JITSU_KEY = "k_test_jitsu:s_test_secret"

_MODULES, _OLD_MODULES = HOME / "node" / "node_modules", HOME / "node-old" / "node_modules"
_ENDS_WITHIN_S = 180


@dataclass(frozen=True, slots=True)
class Sdk:
    """One SDK and its driver.

    `name` is the name of its recording; `package` the npm package or the virtual environment it needs;
    `scenarios` are those of the driver that are tried; `insists` says that it resends through a 429, a 503
    and a restart (as recorded: the others give up within a second of no answer, or never resend); `old`
    and `module` choose among the versions of an npm package.
    """

    name: str
    driver: tuple[str, ...]
    package: str
    scenarios: tuple[str, ...]
    insists: bool
    key: str = KEY
    old: bool = False
    module: str = ""

    @property
    def is_browser(self) -> bool:
        return self.name.endswith("-browser")

    @property
    def _is_python(self) -> bool:
        return self.driver[0].endswith(".py")

    def lacking(self) -> str | None:
        """Why it cannot run on this machine."""
        trouble = install()
        if self._is_python:
            return None if self._python.exists() else f"{self.package} is not installed: {trouble}"
        if shutil.which("node") is None or shutil.which("npm") is None:
            return "no node and npm"
        if not any((modules / self.package).exists() for modules in (_MODULES, _OLD_MODULES)):
            return f"{self.package} is not installed: {trouble}"
        return (
            "no chromium (on Debian: apt-get install chromium)"
            if self.is_browser and not chromium()
            else None
        )

    @property
    def _python(self) -> Path:
        return HOME / self.package / "bin" / "python"

    def start(self, port: int, page_port: int, scenario: str, log: Path, stays_ms: int) -> "Driver":
        """The driver of a scenario, started; a page stays open for `stays_ms` after its last call."""
        command = [str(self._python), "-B"] if self._is_python else ["node"]
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
        } | {
            "ENDPOINT": f"http://127.0.0.1:{port}",
            "WRITE_KEY": self.key,
            "NODE_PATH": f"{_OLD_MODULES}:{_MODULES}" if self.old else f"{_MODULES}",
            "SDK_MODULE": self.module,
            "PAGE_PORT": str(page_port),
            "CHROMIUM": chromium() or "",
            "WAIT": str(stays_ms),
            "TZ": "UTC",
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*command, *self.driver, scenario],
                cwd=DRIVERS,
                env={name: value for name, value in environment.items() if value},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return Driver(process, log)


@dataclass(slots=True)
class Driver:
    """A running driver; what it writes are notes, one JSON object a line."""

    process: subprocess.Popen[bytes]
    log: Path

    def finish(self) -> None:
        """Wait until it has made all its calls and the SDK has ended; fails if it broke."""
        try:
            code = self.process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the driver does not end:\n{self.log.read_text()}") from None
        lines = self.log.read_text().splitlines()
        notes = [json.loads(line) for line in lines if line.startswith("{")]
        assert code == 0, lines
        assert any("done" in note for note in notes), lines

    def kill(self) -> None:
        """Of a test that failed. A driver that is asked to end takes its browser along."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


_MORE = ("gzip", "sync", "nan")
_SEGMENT = ("types", "edge", "batch", "keepalive")
_PAGE = ("types", "edge", "batch")
_PY = "py_segment.py"
_NODE = "node_segment.cjs"
_BROWSER = "browser_run.cjs"
_NODE_2 = "@segment/analytics-node-2"
_NEXT = "@segment/analytics-next"
_NEXT_170 = "@segment/analytics-next-170"

SDKS = (
    Sdk(
        "segment-analytics-python",
        (_PY,),
        "v-segment-analytics-python",
        (*_SEGMENT, *_MORE, "big_batch"),
        True,
    ),
    Sdk("segment-analytics-python-2.2", (_PY,), "v-segment-2.2.3", ("types", "gzip", "batch"), True),
    Sdk("analytics-python", ("py_segment_legacy.py",), "v-analytics-python", (*_SEGMENT, *_MORE), True),
    Sdk("rudder-sdk-python", ("py_rudder.py",), "v-rudder-sdk-python", (*_SEGMENT, "sync", "nan"), True),
    Sdk("segment-analytics-node", (_NODE,), "@segment/analytics-node", (*_SEGMENT, "huge_event"), True),
    Sdk("segment-analytics-node-2.1", (_NODE,), _NODE_2, ("types", "batch"), False, old=True, module=_NODE_2),
    Sdk(
        "segment-analytics-node-1.3", (_NODE,), "@segment/analytics-node", ("types", "batch"), False, old=True
    ),
    Sdk("analytics-node", ("node_segment_legacy.cjs",), "analytics-node", _SEGMENT, False),
    Sdk("rudder-sdk-node", ("node_rudder.cjs",), "@rudderstack/rudder-sdk-node", (*_SEGMENT, "plain"), False),
    Sdk("jitsu-js-node", ("node_jitsu.cjs",), "@jitsu/js", (*_SEGMENT, "s2s"), False, JITSU_KEY),
    Sdk(
        "analytics-jitsu-plugin-node",
        ("node_analytics_plugin.cjs",),
        "analytics",
        ("types",),
        False,
        JITSU_KEY,
    ),
    Sdk(
        "jitsu-sdk-js-node",
        ("node_jitsu_classic.cjs",),
        "@jitsu/sdk-js",
        (*_SEGMENT, "direct", "random_url"),
        False,
    ),
    Sdk("segment-analytics-next-browser", (_BROWSER, "segment-next"), _NEXT, ("types", "edge"), True),
    Sdk(
        "segment-analytics-next-npm-browser",
        (_BROWSER, "segment-next-npm"),
        _NEXT,
        (*_PAGE, "batching"),
        True,
    ),
    Sdk(
        "segment-analytics-next-1.70-browser",
        (_BROWSER, "segment-next-npm"),
        _NEXT_170,
        ("types",),
        False,
        old=True,
        module=_NEXT_170,
    ),
    Sdk("rudder-sdk-js-browser", (_BROWSER, "rudder-v1"), "rudder-sdk-js", (*_PAGE, "beacon"), True),
    Sdk(
        "rudderstack-analytics-js-browser",
        (_BROWSER, "rudder-v3"),
        "@rudderstack/analytics-js",
        (*_PAGE, "batching", "beacon"),
        True,
    ),
    Sdk("jitsu-js-browser", (_BROWSER, "jitsu-pjs"), "@jitsu/js", (*_PAGE, "options"), False, JITSU_KEY),
    Sdk("jitsu-js-npm-browser", (_BROWSER, "jitsu-npm"), "@jitsu/js", ("types",), False, JITSU_KEY),
    Sdk("jitsu-sdk-js-browser", (_BROWSER, "jitsu-classic"), "@jitsu/sdk-js", (*_PAGE, "random_url"), True),
)
