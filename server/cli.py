"""The command line. Commands live in server/commands and are imported when they are used, so `--help` stays
quick.

A user's mistake ends in one line on standard error that says what to do (exit status 1, or 2 for a faulty
configuration), never in a traceback.
"""

import importlib
from typing import Final

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


class _Commands(click.Group):
    """Knows the names without importing the modules."""

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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Penstock: a self-hosted event collector in one process.

    Events come in over HTTP, are on disk before they are answered, and arrive exactly once in Postgres.
    """


if __name__ == "__main__":
    main(prog_name="penstock")
