"""Why a change of the management API is not made. Each is answered in words; nothing was changed."""

from collections.abc import Sequence

from server.catalog import Fault


class ManagementError(Exception):
    """The change is not made; the message is for the caller."""


class NotFound(ManagementError):  # noqa: N818 - the word of the seam
    """There is no such object in this workspace."""

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(f"{kind} with id {id_[:100]!r} does not exist")


class Invalid(ManagementError):  # noqa: N818 - the word of the seam
    """The object would not be valid; `faults` holds every reason with its path."""

    def __init__(self, kind: str, faults: Sequence[Fault]) -> None:
        super().__init__(f"the {kind} is not valid: {faults[0]}")
        self.faults = list(faults)


class Conflict(ManagementError):  # noqa: N818 - the word of the seam
    """What is there stands against it: `code` says how, `details` are added to the answer."""

    def __init__(self, code: str, message: str, details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details or {}


class Provisioned(Conflict):
    """The object is declared in the configuration file, and changed there alone."""

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(
            "PROVISIONED", f"{kind} {id_} is declared in the configuration file: change it there"
        )


class PreconditionFailed(ManagementError):  # noqa: N818 - the word of the seam
    """The object is not the one that If-Match names: somebody changed it since it was read."""

    def __init__(self, etag: str) -> None:
        super().__init__("the object was changed since: read it again")
        self.etag = etag
