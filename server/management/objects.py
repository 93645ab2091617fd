"""The objects that live in the store beside those of the configuration file, and every change of them.

A change is checked as a whole configuration, written durably with its audit entry, and then in force.
Changes go one after the other, so two writers never lose an update; one that was begun is finished although
its caller has gone. Event-loop thread only; memory holds every object.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final, Protocol, TypeVar

import orjson
from msgspec import Struct

from server.catalog import Fault, Workspace
from server.management.api_keys import Caller
from server.management.audit import Act, Audit
from server.management.ends import LINK_KINDS, end_faults, functions_of, in_use, moved_ends
from server.management.errors import Conflict, Invalid, NotFound, PreconditionFailed, Provisioned
from server.management.hashed_keys import with_hashes
from server.management.kinds import (
    KINDS,
    complete,
    normalized,
    published_fault,
    refuse_reserved,
    relative_fault,
    shaped,
    unknown_options,
)
from server.management.merge import merged_object
from server.management.recipients import misdirected
from server.management.removed_links import id_before, removals
from server.management.secrets import SecretBox, require_same, unmasked
from server.management.stored import (
    KEY_RECORD,
    KEY_TABLE,
    TABLE,
    Stored,
    decoded,
    encoded,
    matches,
    record_key,
)
from server.management.whole import config_faults, effective
from server.settings import Config, ConfigErrors
from storage import Delete, Put, TableEnv

DEFAULT_WORKSPACE: Final = "default"
_ID_BYTES: Final = 12
_ETAG_BYTES: Final = 12
_END_CHARACTERS: Final = 4
_WORKSPACE_CHARACTERS: Final = 32

OnChange = Callable[[Config, Config], Awaitable[None]]
Change = tuple[Stored | None, Stored | None]
"""An object before and after it; nothing before it is made, nothing after it is deleted."""

_Made = TypeVar("_Made")


class _Clock(Protocol):
    def wall_ms(self) -> int: ...


class Objects:
    """Every object, and the configuration that they are. `load` comes first."""

    def __init__(
        self,
        catalog: TableEnv,
        provisioned: Config,
        box: SecretBox,
        audit: Audit,
        clock: _Clock,
        on_change: OnChange,
    ) -> None:
        self._catalog = catalog
        self._provisioned = provisioned
        self._box = box
        self._audit = audit
        self._clock = clock
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._objects: dict[str, dict[str, Stored]] = {kind: {} for kind in KINDS}
        self.config = provisioned
        """The one in force."""

    def load(self) -> Config:
        """The configuration file with what is stored; raises `ConfigErrors`, `SecretError`. Blocking."""
        # Under another key file every write key of a stored stream would be an unknown one.
        require_same(self._catalog.get(KEY_TABLE, KEY_RECORD), self._box)
        self._add_provisioned("workspace", Workspace(id=DEFAULT_WORKSPACE, name="Default"))
        for kind in KINDS.values():
            if kind.section is not None:
                for value in getattr(self._provisioned, kind.section).values():
                    self._add_provisioned(kind.name, value)
        faults = list(self._load_stored())
        self.config = effective(self._provisioned, self._objects)
        faults += config_faults(self.config, self._objects, self._box)
        if faults:
            raise ConfigErrors(faults)
        return self.config

    def all(self, kind: str, workspace: str | None = None) -> list[Stored]:
        """Objects of a kind, oldest first; those of the configuration file before all others."""
        found = [item for item in self._objects[kind].values() if workspace in (None, item.workspace)]
        return sorted(found, key=lambda item: (not item.provisioned, item.created_ms))

    def get(self, kind: str, id_: str, workspace: str | None = None) -> Stored | None:
        """An object, None if there is none in that workspace."""
        item = self._objects[kind].get(id_)
        return item if item is not None and workspace in (None, item.workspace) else None

    def etag(self, workspace: str) -> str:
        """Of all objects of a workspace together: another one after each change of any of them."""
        items = (item for objects in self._objects.values() for item in objects.values())
        tags = sorted(f"{item.kind}/{item.id}/{item.etag}" for item in items if item.workspace == workspace)
        return f'"{blake2b(orjson.dumps(tags), digest_size=_ETAG_BYTES).hexdigest()}"'

    def workspace(self, word: str) -> Stored | None:
        """The workspace of that id or slug."""
        by_id = self.get("workspace", word)
        return by_id or next((item for item in self.all("workspace") if item.body["slug"] == word), None)

    def link_between(self, from_id: str, to_id: str, workspace: str) -> Stored | None:
        """The link of a stream and a destination."""
        ends = (from_id, to_id)
        return next((item for item in self.all("link", workspace) if item.ends == ends), None)

    def candidate(self, kind: str, body: Mapping[str, Any], workspace: str) -> Struct:
        """What an object would be after `create`, or after `patch` if it is there; nothing is changed. Raises
        ManagementError.
        """
        given = normalized(kind, workspace, body)
        id_ = self._id_of(kind, given, workspace)
        before = self.get(kind, id_, workspace)
        return self._checked(kind, id_, workspace, given, before, strict=False).value

    async def create(
        self,
        kind: str,
        body: Mapping[str, Any],
        actor: Caller,
        *,
        workspace: str = DEFAULT_WORKSPACE,
        strict: bool = False,
    ) -> Stored:
        """Make an object, with an id of its own if none is given. Raises ManagementError, StorageError."""
        return await self._serially(lambda: self._create(kind, body, actor, workspace, strict))

    async def patch(
        self,
        kind: str,
        id_: str,
        body: Mapping[str, Any],
        actor: Caller,
        if_match: str | None = None,
        *,
        workspace: str = DEFAULT_WORKSPACE,
        strict: bool = False,
    ) -> Stored:
        """Put a change over an object. Raises ManagementError, StorageError."""
        return await self._serially(lambda: self._patch(kind, id_, body, actor, if_match, workspace, strict))

    async def delete(
        self,
        kind: str,
        id_: str,
        actor: Caller,
        *,
        strict: bool = False,
        cascade: bool = False,
        if_match: str | None = None,
        workspace: str = DEFAULT_WORKSPACE,
    ) -> Stored:
        """Remove an object; the links that use it stay and are inert, but with `cascade`. Returns what was
        there. Raises ManagementError, StorageError.
        """
        return await self._serially(
            lambda: self._delete(kind, id_, actor, strict, cascade, if_match, workspace)
        )

    async def together(
        self, work: Callable[["Trial"], Awaitable[None]], actor: Caller, *, keep: bool
    ) -> list[Change]:
        """Let `work` change a copy of these objects, and return what it changed. If `keep`, all of it becomes
        durable and goes into force as one change; if `work` raises, or without `keep`, nothing does. Raises
        ManagementError, StorageError.
        """

        async def run() -> list[Change]:
            trial = Trial(self)
            await work(trial)
            if faults := trial.faults():
                raise Invalid("document", faults)
            if keep and trial.changes:
                await self._commit(trial.changes, actor)
            return trial.changes

        return await self._serially(run)

    def users(self, item: Stored) -> list[Stored]:
        """The links that need an object."""
        if item.kind == "workspace":
            inside = (other for kind in KINDS if kind != "workspace" for other in self.all(kind))
            return [other for other in inside if other.workspace == item.id]
        links = [link for kind in LINK_KINDS for link in self.all(kind, item.workspace)]
        if item.kind == "function":
            return [link for link in links if f"udf.{item.id}" in functions_of(link)]
        if item.kind == "destination":
            return [link for link in links if link.body["to"] == item.id]
        of = {"stream": "link", "service": "sync"}.get(item.kind)
        return [link for link in links if link.kind == of and link.body["from"] == item.id]

    async def _serially(self, change: Callable[[], Awaitable[_Made]]) -> _Made:
        async def run() -> _Made:
            async with self._lock:
                return await change()

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _create(
        self, kind: str, body: Mapping[str, Any], actor: Caller, workspace: str, strict: bool
    ) -> Stored:
        given = normalized(kind, workspace, body)
        id_ = self._id_of(kind, given, workspace)
        refuse_reserved(kind, id_, given.get("slug"))
        for other in LINK_KINDS if kind in LINK_KINDS else (kind,):
            if id_ in self._objects[other]:
                raise Conflict("ALREADY_EXISTS", f"{other} with id {id_} already exists")
        now_ms = self._clock.wall_ms()
        item = self._checked(kind, id_, workspace, given, None, strict)
        item = replace(item, created_ms=now_ms, updated_ms=now_ms)
        await self._commit([(None, item)], actor)
        return item

    async def _patch(
        self,
        kind: str,
        id_: str,
        body: Mapping[str, Any],
        actor: Caller,
        if_match: str | None,
        workspace: str,
        strict: bool,
    ) -> Stored:
        before = self._writable(kind, id_, workspace, if_match)
        given = normalized(kind, before.workspace, body)
        if given.pop("id", id_) != id_:
            raise Invalid(kind, [Fault("id", "cannot be changed", "make a new object")])
        refuse_reserved(kind, given.get("slug"))
        after = self._checked(kind, id_, before.workspace, given, before, strict)
        if after.body == before.body:
            return before
        updated_ms = max(self._clock.wall_ms(), before.updated_ms)
        after = replace(
            after, version=before.version + 1, created_ms=before.created_ms, updated_ms=updated_ms
        )
        await self._commit([(before, after)], actor)
        return after

    async def _delete(
        self,
        kind: str,
        id_: str,
        actor: Caller,
        strict: bool,
        cascade: bool,
        if_match: str | None,
        workspace: str,
    ) -> Stored:
        item = self._writable(kind, id_, workspace, if_match)
        users = self.users(item) if kind == "workspace" or strict or cascade else []
        if kind == "workspace" and users:
            raise Conflict("NOT_EMPTY", f"workspace {id_} has {len(users)} objects: delete them first")
        if users and strict and not cascade:
            raise in_use(item, users)
        gone = users if cascade else []
        if provisioned := next((link for link in gone if link.provisioned), None):
            raise Provisioned(provisioned.kind, provisioned.id)
        await self._commit([*((link, None) for link in gone), (item, None)], actor)
        return item

    def _writable(self, kind: str, id_: str, workspace: str, if_match: str | None) -> Stored:
        item = self.get(kind, id_, None if kind == "workspace" else workspace)
        if item is None:
            raise NotFound(kind, id_)
        if item.provisioned:
            raise Provisioned(kind, id_)
        if not matches(item.etag, if_match):
            raise PreconditionFailed(item.etag)
        return item

    def _checked(
        self,
        kind: str,
        id_: str,
        workspace: str,
        given: Mapping[str, Any],
        before: Stored | None,
        strict: bool,
    ) -> Stored:
        """The object as it would be, in a configuration that holds. Raises `Invalid`, `Conflict`."""
        item = self._formed(kind, id_, workspace, given, before, strict)
        if faults := self._misfits(item, made=before is None):
            raise Invalid(kind, faults)
        return item

    def _misfits(self, item: Stored, *, made: bool) -> list[Fault]:
        """Why an object is none beside the others. Raises `Conflict`."""
        kind, id_ = item.kind, item.id
        if kind == "link" and made and (other := self.link_between(*item.ends, item.workspace)):
            ends = f"from {other.body['from']!r} to {other.body['to']!r}"
            raise Conflict("ALREADY_EXISTS", f"Link {ends} already exists", {"id": other.id})
        objects = {**self._objects, kind: {**self._objects[kind]}}
        objects[kind].pop(id_, None)
        objects[kind][id_] = item
        config = effective(self._provisioned, objects)
        found = config_faults(config, objects, self._box, item)
        return [relative_fault(kind, id_, fault) for fault in found]

    def _formed(
        self,
        kind: str,
        id_: str,
        workspace: str,
        given: Mapping[str, Any],
        before: Stored | None,
        strict: bool,
    ) -> Stored:
        """The object with what was given over what was there, if it holds by itself. Raises `Invalid`."""
        known = {} if before is None else before.body
        body = unmasked(merged_object(kind, known, given), known)
        faults = moved_ends(before, body)
        if kind == "stream":
            body, without_secret = with_hashes(body, known, self._box)
            faults += without_secret
        value = shaped(kind, id_, body)
        if isinstance(value, list):
            raise Invalid(kind, [*faults, *value])
        if before is not None:
            faults += [published_fault(kind, one) for one in misdirected(given, before.value, value)]
        faults += unknown_options(kind, body) if strict else []
        if faults:
            raise Invalid(kind, faults)
        return Stored(kind, id_, workspace, 1, False, complete(value, body), value)

    async def _commit(self, changes: Sequence[Change], actor: Caller) -> None:
        """Make changes durable, all or none, and then put them in force."""
        ops: list[Put | Delete] = []
        acts: list[Act] = []
        for before, after in changes:
            item = after or before
            assert item is not None
            action = "create" if before is None else "delete" if after is None else "update"
            key = record_key(item.kind, item.id)
            ops.append(Delete(TABLE, key) if after is None else Put(TABLE, key, encoded(after, self._box)))
            shown = (None if before is None else before.body, None if after is None else after.body)
            acts.append(Act(actor.key_id, action, item.kind, item.id, *shown))
        ops += removals(self._catalog, changes, self._clock.wall_ms())
        ops.append(Put(KEY_TABLE, KEY_RECORD, self._box.fingerprint))
        objects = self._changed(changes)
        config = effective(self._provisioned, objects)
        await self._audit.write(ops, acts)
        before_config, self.config, self._objects = self.config, config, objects
        await self._on_change(before_config, config)

    def _changed(self, changes: Sequence[Change]) -> dict[str, dict[str, Stored]]:
        """Every object as it is after the changes."""
        objects = {kind: dict(items) for kind, items in self._objects.items()}
        for before, after in changes:
            item = after or before
            assert item is not None
            if after is None:
                del objects[item.kind][item.id]
            else:
                objects[item.kind][item.id] = after
        return objects

    def _load_stored(self) -> Iterator[Fault]:
        """Take in every record; what cannot be is a fault."""
        for _, value in self._catalog.scan(TABLE):
            record = decoded(value, self._box)
            place = f"{KINDS[record.kind].section or record.kind}.{record.id}"
            shape = shaped(record.kind, record.id, record.body)
            if record.id in self._objects[record.kind]:
                hint = "rename the one in the file, or delete the other through the API before it is there"
                yield Fault(place, "is in the configuration file and was made by the API too", hint)
            elif isinstance(shape, list):
                yield from (replace(fault, path=f"{place}.{fault.path}") for fault in shape)
            else:
                body = complete(shape, record.body)
                self._add(
                    Stored(
                        record.kind,
                        record.id,
                        record.workspace,
                        record.version,
                        False,
                        body,
                        shape,
                        record.created_ms,
                        record.updated_ms,
                    )
                )

    def _add_provisioned(self, kind: str, value: Any) -> None:
        body = complete(value, {})
        self._add(Stored(kind, value.id, DEFAULT_WORKSPACE, 0, True, body, value))

    def _add(self, item: Stored) -> None:
        self._objects[item.kind][item.id] = item

    def _id_of(self, kind: str, given: dict[str, Any], workspace: str) -> str:
        """The id that was given, taken out, or a new one. Raises `Invalid`."""
        id_ = given.pop("id", None)
        if id_ is None:
            return self._new_id(kind, given, workspace)
        if not isinstance(id_, str):
            raise Invalid(kind, [Fault("id", "must be a text")])
        return id_

    def _new_id(self, kind: str, body: Mapping[str, Any], workspace: str) -> str:
        if kind not in LINK_KINDS:
            return secrets.token_hex(_ID_BYTES)
        before = id_before(self._catalog, workspace, body) if kind == "link" else None
        if before is not None and not any(before in self._objects[links] for links in LINK_KINDS):
            return before
        ends = "-".join(_ending(body.get(end)) for end in ("from", "to"))
        return f"{workspace[:_WORKSPACE_CHARACTERS]}-{ends}-{secrets.token_hex(3)}"


def _ending(end: object) -> str:
    """Of an id; nothing of what is none: that is a fault of its own."""
    return end[-_END_CHARACTERS:] if isinstance(end, str) and end.isascii() and end.isprintable() else ""


class Trial(Objects):
    """A copy in which changes are collected, and stored nowhere. Each is checked by itself, and `faults` says
    how all of them fit together: so a thousand cost a thousand times what one does.
    """

    def __init__(self, real: Objects) -> None:
        super().__init__(
            real._catalog, real._provisioned, real._box, real._audit, real._clock, real._on_change
        )
        self._objects = {kind: dict(items) for kind, items in real._objects.items()}
        self.config = real.config
        self.changes: list[Change] = []

    def faults(self) -> list[Fault]:
        """Why the objects as they are now are no configuration; with paths as in the configuration file."""
        config = effective(self._provisioned, self._objects)
        return [self._placed(fault) for fault in config_faults(config, self._objects, self._box)]

    def _placed(self, fault: Fault) -> Fault:
        """With the names of fields as they are published."""
        section, *words = fault.path.split(".")
        kind = next((kind.name for kind in KINDS.values() if kind.section == section), "")
        for count in range(1, len(words) + 1):
            id_ = ".".join(words[:count])  # there may be dots in it
            if id_ in self._objects.get(kind, {}):
                own = relative_fault(kind, id_, fault)
                return replace(own, path=f"{section}.{id_}.{own.path}".rstrip("."))
        return fault

    def _misfits(self, item: Stored, *, made: bool) -> list[Fault]:  # noqa: ARG002 - `faults` sees to the rest
        return list(end_faults(item, self._objects)) if item.kind in LINK_KINDS else []

    async def _serially(self, change: Callable[[], Awaitable[_Made]]) -> _Made:
        return await change()  # nobody else has this copy

    async def _commit(self, changes: Sequence[Change], _actor: Caller) -> None:
        for before, after in changes:
            if before is not None:
                del self._objects[before.kind][before.id]
            if after is not None:  # the last one: it is what is at fault where two do not fit
                self._objects[after.kind][after.id] = after
        self.changes += changes
