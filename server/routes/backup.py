"""POST, GET and DELETE /api/v1/backup: a backup of the running store, how far it is, and its end. For admins.

One backup at a time, in a thread that rests most of the time: ingest goes before it. It outlives the request
that began it; `penstock backup` asks until it is done. Event-loop thread.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blacksheep import Application, Request, Response

from server.lookup import iso_time
from server.routes.admin import AdminAccess
from server.routes.responses import json_response, problem_response
from storage import Manifest, StorageError, Store, Transfer

_log = logging.getLogger("penstock.backup")

_REST_RATIO: Final = 3.0
"""Seconds of rest for each second of work: a quarter of one core and of the disk, at most."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One backup: `task` makes it, `transfer` says how far it is."""

    directory: Path
    task: asyncio.Task[Manifest]
    transfer: Transfer


class Backups:
    """The backup that runs, or the last one that did."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._job: _Job | None = None

    @property
    def running(self) -> bool:
        """Whether one is being made."""
        return self._job is not None and not self._job.task.done()

    def start(self, directory: Path) -> None:
        """Begin one. Raises StoreFailed for a directory that no backup can become."""
        self._store.require_backup_target(directory)
        transfer = Transfer(_REST_RATIO)
        making = asyncio.to_thread(self._store.back_up, directory, transfer)
        self._job = _Job(directory, asyncio.create_task(making, name="backup"), transfer)
        self._job.task.add_done_callback(_log_end)
        _log.info("backing up to %s", directory)

    def stop(self) -> None:
        """The one that runs ends soon and leaves no trace."""
        if self._job is not None:
            self._job.transfer.stop()

    async def close(self) -> None:
        """Stop, and wait for the end: the store may be closed then."""
        self.stop()
        if self._job is not None:
            await asyncio.wait([self._job.task])

    def described(self) -> dict[str, object]:
        """As the routes answer. `state`: none, running, done, failed."""
        job = self._job
        if job is None:
            return {"state": "none"}
        said: dict[str, object] = {"directory": str(job.directory)}
        if not job.task.done():
            progress = {"doneBytes": job.transfer.done_bytes, "totalBytes": job.transfer.total_bytes}
            return {"state": "running", **said, "doing": job.transfer.doing, **progress}
        error = job.task.exception()
        if error is not None:
            return {"state": "failed", **said, "message": str(error)}
        return {"state": "done", **said, **described(job.task.result())}


def described(manifest: Manifest) -> dict[str, object]:
    """A backup as admins see it. Times are ISO 8601 in UTC."""
    segments = [file for file in manifest.files if file.name.endswith(".lmdb")]
    return {
        "storeId": manifest.identity.store_id,
        "beganAt": iso_time(manifest.began_ms),
        "endedAt": iso_time(manifest.ended_ms),
        "sizeBytes": manifest.size_bytes,
        "segments": len(segments),
        "segmentsLinked": sum(file.how == "linked" for file in segments),
        "segmentsMissing": list(manifest.missing),
        "heads": manifest.heads,
    }


def register_backup(app: Application, backups: Backups, access: AdminAccess) -> None:
    """Add the routes."""

    async def look(request: Request) -> Response:
        """The backup that runs, or the last one."""
        return access.refusal(request) or json_response(200, backups.described())

    async def begin(request: Request) -> Response:
        """Begin a backup. Parameter `directory`: an absolute path on the server's machine, new or empty."""
        if refused := access.refusal(request):
            return refused
        directory = (request.query.get("directory") or [""])[0]
        if not directory.startswith("/") or "\0" in directory:
            return problem_response("bad_request", "directory must be an absolute path")
        if backups.running:
            return problem_response("backup_running")
        try:
            backups.start(Path(directory))
        except StorageError as error:
            return problem_response("bad_request", str(error))
        return json_response(202, backups.described())

    async def stop(request: Request) -> Response:
        """End the backup that runs; nothing is left of it."""
        if refused := access.refusal(request):
            return refused
        backups.stop()
        return json_response(202, backups.described())

    app.router.add_get("/api/v1/backup", look)
    app.router.add_post("/api/v1/backup", begin)
    app.router.add_delete("/api/v1/backup", stop)


def _log_end(task: asyncio.Task[Manifest]) -> None:
    error = task.exception()
    if error is not None:
        _log.error("no backup was made: %s", error)
    else:
        _log.info("the backup is done: %d bytes", task.result().size_bytes)
