"""Logs of the process: one line per record, as text or JSON, on standard error.

Invariants: no payload and no secret is logged. Callers do not log payloads; what looks like a credential in a
message (a URL's password, a key or token in a query) is masked here as the last line of defence. Never per
event on the hot path.
"""

import logging
import logging.config
import re
import socket
from datetime import UTC, datetime
from typing import Any, Final

MASK: Final = "***"
_SECRETS = (
    (re.compile(r"(://[^\s/:@]*:)[^\s/@]+(@)"), rf"\1{MASK}\2"),
    (re.compile(r"(?i)((?:^|[?&;\s])(?:\w*token|write_?key|wk|api_key|password)=)[^&\s\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)((?:^|[?&;\s])p_[a-z]+=)[^&\s\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(basic|bearer) [\w.~+/=:-]{8,}"), rf"\1 {MASK}"),
    (
        re.compile(r"(?i)(x-(?:write-key|admin-token|auth-token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',]+"),
        rf"\1{MASK}",
    ),
)
_LEAST = {
    "_granian": logging.ERROR,
    "_granian.serve": logging.ERROR,
    "granian.access": logging.CRITICAL,
    "asyncio": logging.ERROR,
}
"""Granian warns at each start that its embedded server is experimental; that is our decision, not news."""
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(level: str, style: str, server: str = "") -> None:
    """Set up the root logger; `style` is `text` or `json`, `server` names this machine in JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(server) if style == "json" else TextFormatter())
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _is_news(record: logging.LogRecord) -> bool:
    """A filter and not a logger's level: Granian sets its loggers' levels when it starts."""
    return record.levelno >= _LEAST.get(record.name, logging.NOTSET)


GRANIAN_CONFIG: Final[dict[str, Any]] = {
    # Given to Granian as `log_dictconfig`: its own setup would print to standard output in its own format.
    "handlers": {},
    "loggers": {
        "_granian": {"handlers": [], "propagate": True},
        "granian.access": {"handlers": [], "propagate": False},
    },
}


def masked(text: str) -> str:
    """The text with everything that looks like a credential masked."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class TextFormatter(logging.Formatter):
    """`2026-11-21T08:00:00.000Z INFO server.lifecycle: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_moment(record)} {record.levelname} {record.name}: {record.getMessage()}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return masked(line)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, server, logger, message, `extra` fields, `error` (traceback)."""

    def __init__(self, server: str = "") -> None:
        super().__init__()
        self._server = server or socket.gethostname()

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        import orjson  # the text style starts without it

        fields: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "server": self._server,
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        fields |= {
            key: masked(value) if isinstance(value, str) else value for key, value in _extra(record).items()
        }
        if record.exc_info:
            fields["error"] = masked(self.formatException(record.exc_info))
        return orjson.dumps(fields, default=str).decode()


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _OWN}


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
