"""Why the embedded Postgres cannot run, said so that an operator can act on it."""

from pathlib import Path

TAIL_LINES = 12
TAIL_BYTES = 8192


class EmbeddedError(Exception):
    """The embedded Postgres cannot be started, adopted or stopped. `hint` says what to do about it."""

    def __init__(self, message: str, hint: str, log: Path | None = None) -> None:
        lines = tail(log) if log is not None else ""
        super().__init__("\n".join(part for part in (message, f"  what to do: {hint}", lines) if part))
        self.message = message
        self.hint = hint


def tail(log: Path) -> str:
    """The last lines of a log, indented and headed; empty if there are none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
    except OSError:
        return ""
    return "\n".join([f"  last lines of {log}:", *(f"    {line}" for line in lines)]) if lines else ""
