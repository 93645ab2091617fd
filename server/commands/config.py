"""`penstock config`: the objects of a running server as a file, and a file as the objects."""

import json
import os
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

from server.catalog import Fault
from server.commands.admin_client import ask, require, url_option
from server.commands.terminal import Faulty, Mistake, conf_option, visible
from server.configfile import PREFIX, coerce, read_layers
from server.management import DEFAULT_WORKSPACE, KINDS, MASK, SECTIONS
from server.settings import Config

_HEADING: Final = f"""\
# Objects of a Penstock server, exported. `penstock config apply FILE` makes them what this file says.
# {MASK} stands for a secret that the server has; write another in its place, or ${{env.NAME}}.
"""
_CHANGED_SINCE: Final = "the objects were changed since they were compared; nothing was applied: run it again"
_SIGNS: Final = {"create": "+", "update": "~", "delete": "-"}
_DONE: Final = {"create": "made", "update": "changed", "delete": "deleted"}
_SETTINGS: Final = frozenset(field.name for field in msgspec.structs.fields(Config)) - frozenset(SECTIONS)

workspace_option = click.option(
    "--workspace", default=DEFAULT_WORKSPACE, show_default=True, help="Whose objects."
)


@click.group()
def command() -> None:
    """The objects of a running server as a file, and a file as the objects."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@conf_option
@url_option
@workspace_option
def export(file: Path | None, conf: Path | None, url: str | None, workspace: str) -> None:
    """Write every object as YAML, secrets masked, to FILE or to the terminal.

    What the configuration file declares is in it too; applied to the same server it changes nothing.
    """
    status, document = ask(conf, url, _path(workspace))
    require(status == HTTPStatus.OK, document)
    text = _HEADING + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise Mistake(f"cannot write {file}: {error.strerror}") from error


@command.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@conf_option
@url_option
@workspace_option
@click.option("--dry-run", is_flag=True, help="Only print what would change.")
@click.option("--prune", is_flag=True, help="Delete the objects that FILE does not name.")
def apply(file: Path, conf: Path | None, url: str | None, workspace: str, dry_run: bool, prune: bool) -> None:
    """Make the objects what FILE says, all of it or nothing; prints what changes first.

    FILE is a configuration file; its streams, destinations, links, functions and services count. A second
    time nothing changes.
    """
    document = _document(file)
    flags = {"prune": "true"} if prune else {}
    compared = _put(file, conf, url, workspace, document, {**flags, "dryRun": "true"})
    changes: list[dict[str, Any]] = compared["changes"]
    for change in changes:
        click.echo(_in_words(change))
    if not changes:
        click.echo("nothing changes")
    elif not dry_run:
        made = _put(file, conf, url, workspace, document, flags, if_match=compared["etag"])["changes"]
        counts = {action: sum(one["action"] == action for one in made) for action in _DONE}
        said = ", ".join(f"{count} {_DONE[action]}" for action, count in counts.items() if count)
        click.echo(f"applied: {said or 'nothing was left to change'}")


def _put(
    file: Path,
    conf: Path | None,
    url: str | None,
    workspace: str,
    document: Mapping[str, Any],
    flags: Mapping[str, str],
    if_match: str = "*",
) -> dict[str, Any]:
    path = f"{_path(workspace)}?{urllib.parse.urlencode(flags)}"
    status, answer = ask(conf, url, path, "PUT", body=document, if_match=if_match)
    if status == HTTPStatus.BAD_REQUEST and "errors" in answer:
        raise Faulty(file, [Fault(one["path"], one["message"]) for one in answer["errors"]])
    if status == HTTPStatus.PRECONDITION_FAILED:
        raise Mistake(_CHANGED_SINCE)
    require(status == HTTPStatus.OK, answer)
    return answer


def _path(workspace: str) -> str:
    return f"/api/{urllib.parse.quote(workspace, safe='')}/config"


def _document(file: Path) -> dict[str, Any]:
    """The objects of a file, under our names. Raises Faulty."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    layers = read_layers(file, environ, {})
    if layers.faults:
        raise Faulty(file, layers.faults)
    if settings := [section for section in layers.tree if section in _SETTINGS]:
        click.echo(f"not applied, because they are settings of the process: {', '.join(settings)}", err=True)
    document = {section: items for section, items in layers.tree.items() if section not in _SETTINGS}
    for section, items in document.items():
        if section in SECTIONS and isinstance(items, dict):
            normalize = KINDS[SECTIONS[section]].normalize
            document[section] = {id_: normalize(body) for id_, body in items.items()}
    schema = msgspec.json.schema(Config)
    plain = coerce({key: value or {} for key, value in document.items()}, schema, schema["$defs"])
    return dict(json.loads(json.dumps(plain, default=str)))


def _in_words(change: Mapping[str, Any]) -> str:
    """A line for the object, and one for each of its fields that changes."""
    lines = [f"{_SIGNS[change['action']]} {change['type']} {change['id']}"]
    if change["action"] != "delete":
        new = change["action"] == "create"
        lines += [f"    {_field(one)}" for one in change["fields"] if one["after"] or not new]
    return visible("\n".join(lines))


def _field(one: Mapping[str, Any]) -> str:
    before, after = one["before"], one["after"]
    if MASK in (before, after):
        return f"{one['path']}: a secret that is {'gone' if after is None else 'new'}"
    if before is None:
        return f"{one['path']}: {_shown(after)}"
    return f"{one['path']}: {_shown(before)} → {_shown(after)}"


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
