"""The command line. Commands live in server/commands and are imported when they are used, so `--help` stays
quick.

A user's mistake ends in one line on standard error that says what to do (exit status 1, or 2 for a faulty
configuration), never in a traceback.
"""

import errno
import importlib
import os
import sys
from typing import Any, Final

import click

COMMANDS: Final = {
    "run": ("quickstart", "Start with everything made for you in ./data: configuration, keys, Postgres."),
    "serve": ("serve", "Start with a configuration file."),
    "check": ("check", "Name every fault of a configuration file."),
    "sql": ("sql", "Run SQL in a destination and print the rows."),
    "events": ("events", "Where is my event? Ask the running server."),
    "links": ("links", "How the links are; pause and resume them."),
    "backup": ("backup", "Copy the store, whether the server runs or not."),
    "restore": ("restore", "Make a data directory from a backup."),
    "config": ("config", "The objects of a running server as a file, and back."),
    "keys": ("keys", "API keys of the management API: make, list, delete."),
    "version": ("version", "Print the version."),
}
_NOT_WRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Commands(click.Group):
    """Knows the names without importing the modules."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. What no command expects, and is no fault of ours, is said in a line here."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno not in _NOT_WRITTEN or error.filename is not None:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still in the buffer goes there at the exit
            raise _mistake(f"cannot write: {error.strerror}") from error
        except UnicodeEncodeError as error:
            if error.encoding == "utf-8":
                raise _mistake("what was given is not UTF-8 text; write it in UTF-8") from error
            words = f"{error.encoding}, the output's encoding, lacks a character; set PYTHONIOENCODING=utf-8"
            raise _mistake(words) from error

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"server.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _mistake(message: str) -> click.ClickException:
    from server.commands.terminal import Mistake

    return Mistake(message)


def open_standard_streams() -> None:
    """Where standard input, output or error is closed, it is /dev/null: else the next socket would get its
    number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Penstock: a self-hosted event collector in one process.

    Events come in over HTTP, are on disk before they are answered, and arrive exactly once in Postgres.
    """
    open_standard_streams()


if __name__ == "__main__":
    main(prog_name="penstock")
