"""All objects of a workspace as one document, in the sections and under the names of the configuration file.

Applying one makes the objects what it says, as one change: all of it or nothing. Secrets are masked in what
is exported; the mask, and a write key named by its id, stand for what is stored. Event-loop thread.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from server.catalog import Fault, fault_path, is_secret
from server.management.api_keys import Caller
from server.management.ends import LINK_KINDS
from server.management.errors import Conflict, Invalid, PreconditionFailed, Provisioned
from server.management.kinds import complete, normalized, shaped, unknown_options
from server.management.objects import Change, Objects, Trial
from server.management.secrets import MASK, masked, unmasked
from server.management.stored import Stored, matches

SECTIONS: Final = {
    "streams": "stream",
    "destinations": "destination",
    "functions": "function",
    "services": "service",
    "links": "link",
    "syncs": "sync",
}
"""Section → kind, in the order in which objects can be made."""
_STEP_OBJECTS: Final = 8
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that a change changes; None stands for absent. Secrets are masked on both sides."""

    path: str
    before: Any
    after: Any


def export_document(objects: Objects, workspace: str) -> dict[str, dict[str, Any]]:
    """The document; sections without an object are left out."""
    found = {
        section: {item.id: masked(item.body) for item in objects.all(kind, workspace)}
        for section, kind in SECTIONS.items()
    }
    return {section: items for section, items in found.items() if items}


async def apply_document(
    objects: Objects,
    document: Mapping[str, Any],
    actor: Caller,
    workspace: str,
    *,
    prune: bool = False,
    keep: bool = True,
    if_match: str | None = None,
) -> tuple[list[Change], str]:
    """Make the objects what the document says, and return what changed, and the ETag of what was before.
    What the document does not name stays, but with `prune`. Without `keep` nothing is changed. Raises
    ManagementError (`Invalid` with every fault, its path as in the document), StorageError.
    """
    wanted = _checked_shape(document)
    etag = ""

    async def work(trial: Trial) -> None:
        nonlocal etag
        etag = trial.etag(workspace)
        if not matches(etag, if_match):
            raise PreconditionFailed(etag)
        if prune:
            await _prune(trial, wanted, actor, workspace)
        for linking in (False, True):
            faults: list[Fault] = []
            for section, kind in SECTIONS.items():
                items = wanted.get(kind, {}) if (kind in LINK_KINDS) is linking else {}
                for count, (id_, body) in enumerate(items.items()):
                    faults += await _put(trial, f"{section}.{id_}", kind, id_, body, actor, workspace)
                    if count % _STEP_OBJECTS == 0:
                        await asyncio.sleep(0)  # a long document does not hold up events
            faults += trial.faults()
            if faults:  # a link whose end is faulty would be called faulty too
                raise Invalid("document", faults)

    changes = await objects.together(work, actor, keep=keep)
    return changes, etag


def differences(change: Change) -> list[Difference]:
    """What a change changes, field by field."""
    before, after = (None if item is None else item.body for item in change)
    return list(_differences(before, after, [], secret=False))


def _checked_shape(document: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    faults = []
    wanted: dict[str, dict[str, Mapping[str, Any]]] = {}
    for section, items in document.items():
        if section not in SECTIONS:
            faults.append(Fault(section, "is not a section of objects", f"known: {', '.join(SECTIONS)}"))
        elif not isinstance(items, Mapping):
            faults.append(Fault(section, "must be a mapping of ids"))
        else:
            wanted[SECTIONS[section]] = dict(items)
            faults += [
                Fault(fault_path([section, id_]), "must be a mapping")
                for id_, body in items.items()
                if not isinstance(body, Mapping)
            ]
    if faults:
        raise Invalid("document", faults)
    return wanted


async def _prune(
    trial: Objects, wanted: Mapping[str, Mapping[str, Any]], actor: Caller, workspace: str
) -> None:
    """Links first: then nothing that goes is in use."""
    for kind in reversed(SECTIONS.values()):
        for item in trial.all(kind, workspace):
            if not item.provisioned and item.id not in wanted.get(kind, {}):
                await trial.delete(kind, item.id, actor, workspace=workspace)


async def _put(
    trial: Objects,
    place: str,
    kind: str,
    id_: str,
    body: Mapping[str, Any],
    actor: Caller,
    workspace: str,
) -> list[Fault]:
    """Make or change one object; why that cannot be."""
    given = {key: value for key, value in normalized(kind, workspace, body).items() if key != "id"}
    there = trial.get(kind, id_, workspace)
    try:
        if there is None:
            await trial.create(kind, {**given, "id": id_}, actor, workspace=workspace, strict=True)
        elif not there.provisioned:
            patch, strict = _patch(there, given), _has_new_options(there, given)
            await trial.patch(kind, id_, patch, actor, workspace=workspace, strict=strict)
        elif not _is_same(there, given):
            raise Provisioned(kind, id_)
    except Invalid as error:
        return [Fault(f"{place}.{one.path}".rstrip("."), one.message, one.hint) for one in error.faults]
    except Conflict as error:
        return [Fault(place, str(error))]
    return []


def _has_new_options(there: Stored, given: Mapping[str, Any]) -> bool:
    """Options that mean nothing here are a fault, but for those that are stored already."""
    known = unknown_options(there.kind, there.body)
    return any(fault not in known for fault in unknown_options(there.kind, given))


def _patch(there: Stored, given: Mapping[str, Any]) -> dict[str, Any]:
    """The change after which an object is what is given, and nothing else. Options of a link are replaced."""
    patch = _replacement(there.body, given)
    return {**patch, "data": given["data"]} if there.kind in LINK_KINDS and "data" in given else patch


def _is_same(there: Stored, given: Mapping[str, Any]) -> bool:
    """Whether what is declared in the configuration file is what is wanted."""
    wanted = unmasked(given, there.body)
    value = shaped(there.kind, there.id, wanted)
    return not isinstance(value, list) and complete(value, wanted) == there.body


def _replacement(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that leaves of `before` what is `wanted`, and nothing else."""
    patch: dict[str, Any] = {key: None for key in before if key not in wanted}
    for key, value in wanted.items():
        old = before.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _replacement(old, value)
        patch[key] = value
    return patch


def _differences(before: Any, after: Any, path: list[str | int], *, secret: bool) -> Iterator[Difference]:
    if isinstance(before, Mapping | None) and isinstance(after, Mapping | None):
        for key in dict.fromkeys([*(before or ()), *(after or ())]):
            pair = ((before or {}).get(key, _NOTHING), (after or {}).get(key, _NOTHING))
            below = secret or is_secret(key, str(path[-1]) if path else "")
            yield from _differences(*pair, [*path, key], secret=below)
    elif before != after:
        shown = (
            None if value is _NOTHING else MASK if secret and value else value for value in (before, after)
        )
        yield Difference(fault_path(path), *(masked(value) for value in shown))
