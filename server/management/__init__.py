"""The management API without HTTP: stored objects, API keys, the audit log, secrets at rest.

What the configuration file declares is provisioned and never written here. Event-loop thread.
"""

from server.management.api_keys import ADMIN_TOKEN, ROLES, ApiKey, ApiKeys, AuthRefusal, Caller, Role
from server.management.audit import Act, Audit, AuditEntry
from server.management.document import SECTIONS, Difference, apply_document, differences, export_document
from server.management.errors import (
    Conflict,
    Invalid,
    ManagementError,
    NotFound,
    PreconditionFailed,
    Provisioned,
)
from server.management.kinds import KINDS, LINK_TYPES
from server.management.objects import DEFAULT_WORKSPACE, Change, Objects, Trial
from server.management.schema import catalogue, components, schema_of
from server.management.secrets import MASK, SecretBox, SecretError, masked, unmasked
from server.management.stored import Stored

__all__ = [
    "ADMIN_TOKEN",
    "DEFAULT_WORKSPACE",
    "KINDS",
    "LINK_TYPES",
    "MASK",
    "ROLES",
    "SECTIONS",
    "Act",
    "ApiKey",
    "ApiKeys",
    "Audit",
    "AuditEntry",
    "AuthRefusal",
    "Caller",
    "Change",
    "Conflict",
    "Difference",
    "Invalid",
    "ManagementError",
    "NotFound",
    "Objects",
    "PreconditionFailed",
    "Provisioned",
    "Role",
    "SecretBox",
    "SecretError",
    "Stored",
    "Trial",
    "apply_document",
    "catalogue",
    "components",
    "differences",
    "export_document",
    "masked",
    "schema_of",
    "unmasked",
]
