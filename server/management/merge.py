"""How a change is put over what is stored: JSON Merge Patch (RFC 7396), but for two fields. Pure."""

from collections.abc import Mapping
from typing import Any

from server.management.kinds import LINK_TYPES


def merge_patch(target: object, patch: object) -> Any:
    """`target` with `patch` over it: null removes, a mapping goes deeper, everything else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def merged_object(kind: str, stored: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """An object with a change over it. The options of a link are replaced as a whole."""
    result: dict[str, Any] = merge_patch(stored, patch)
    if kind in LINK_TYPES and patch.get("data") is not None:
        result["data"] = patch["data"]
    return result
