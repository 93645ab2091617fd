"""What commands share towards the user: how a mistake is told, which configuration is meant, how rows are
shown.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import click

from server.catalog import Fault
from server.settings import Config, ConfigErrors, load

QUICKSTART_CONF = Path("data") / "penstock.yaml"
CELL_CHARACTERS_MAX = 120
PIPE_WIDTH = 10_000
"""Columns when the output is no terminal: rows are never turned on their side there."""

conf_option = click.option(
    "--conf",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PENSTOCK_CONF",
    help=f"Configuration file. Default: $PENSTOCK_CONF, else {QUICKSTART_CONF}.",
)


class Mistake(click.ClickException):
    """Something the user can correct: one line on standard error, no traceback."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        click.echo(f"error: {self.message}", file=file or sys.stderr)


class Faulty(Mistake):
    """A configuration with faults: one line for each; exit status 2."""

    exit_code = 2

    def __init__(self, place: object, faults: Sequence[Fault]) -> None:
        super().__init__(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in {place}")
        self.faults = faults

    def show(self, file: IO[Any] | None = None) -> None:
        """Print all of them."""
        super().show(file)
        for fault in self.faults:
            click.echo(f"  {fault}", file=file or sys.stderr)


def configuration(conf: Path | None, flags: Mapping[str, str | None]) -> Config:
    """Load a configuration: the given file, else the one that `penstock run` wrote. Raises `Faulty`."""
    if conf is None:
        if not QUICKSTART_CONF.exists():
            raise Mistake(f"no configuration: give one with --conf FILE (there is no {QUICKSTART_CONF} here)")
        conf = QUICKSTART_CONF
    try:
        return load(conf, os.environ, {name: value for name, value in flags.items() if value is not None})
    except ConfigErrors as errors:
        places = [str(conf)] if errors.in_file else []
        raise Faulty(", ".join([*places, *sorted(errors.elsewhere)]), errors.faults) from errors


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Rows under headings in aligned columns; one field per line where that would be wider than `width`."""
    rows = [[visible(value) for value in row] for row in rows]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(headings, *cells, strict=True)]
    if sum(widths) + 3 * len(widths) > width and cells:
        label = max(len(heading) for heading in headings)
        records = [
            "\n".join(f"{h:<{label}} | {v}" for h, v in zip(headings, row, strict=True)) for row in rows
        ]
        return "\n\n".join(records)
    lines = [headings, ["-" * size for size in widths], *cells]
    return "\n".join(
        " | ".join(f"{t:<{w}}" for t, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def terminal_width() -> int:
    """Columns that a table may take."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH


def visible(text: str) -> str:
    """Event data is a stranger's: nothing in it may steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _cell(text: str) -> str:
    flat = " ".join(text.split("\n"))
    return flat if len(flat) <= CELL_CHARACTERS_MAX else flat[: CELL_CHARACTERS_MAX - 1] + "…"
