"""Arrows go down only, and a package is entered through its public names (ARCHITECTURE.md, Folders)."""

import ast
from collections.abc import Iterator

from tests.tidy.sources import ROOT, Source, python_sources

LEAVES = frozenset({"clock", "collector", "counters", "health", "logs", "problems"})
CONFIGURATION = frozenset({"catalog", "configfile", "settings"})
# Who may import what of the server. Files that are not named here compose: they may import anything below
# routes.
MAY_IMPORT = {
    "catalog": frozenset(),
    "configfile": frozenset({"catalog"}),
    "settings": frozenset({"catalog", "configfile"}),
    **dict.fromkeys(LEAVES, LEAVES),
    "ingest": LEAVES,
    "access": LEAVES,
    "warehouse": LEAVES,
    "embedded": LEAVES,
    "delivery": LEAVES | {"ingest", "warehouse"},
    "metrics": LEAVES | {"delivery"},
    "management": LEAVES | CONFIGURATION | {"access"},
    "routes": LEAVES | {"access", "catalog", "delivery", "ingest", "lookup", "management", "metrics"},
}
COMPOSITION = frozenset(
    {
        *("app", "lifecycle", "run", "first_stage", "second_stage"),
        *("inbound", "outbound", "housekeeping", "listener", "lookup", "translation"),
    }
)
ENTRY = frozenset({"cli", "commands"})
# Entered by module: routes has a module per family of paths, commands one per command, translation one for
# each package that takes settings.
ENTERED_BY_MODULE = frozenset({"routes", "commands", "translation"})


def package_of(module: str) -> str:
    """`server.routes.batch` → `routes`; `server` and `storage` stay."""
    parts = module.split(".")
    return parts[1] if parts[0] == "server" and len(parts) > 1 else parts[0]


def imports(source: Source) -> Iterator[tuple[str, list[str]]]:
    """Every module of ours that a file imports, with the names taken from it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and is_ours(str(node.module)):
            yield from resolved(node)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("server", "storage")


def resolved(node: ast.ImportFrom) -> Iterator[tuple[str, list[str]]]:
    """`from server import logs` imports server.logs; what `__all__` lists is a public name, even if a module
    is called so.
    """
    module = str(node.module)
    entry = ROOT / module.replace(".", "/") / "__init__.py"
    public = entry.read_text("utf-8") if entry.exists() else ""
    for alias in node.names:
        inner = entry.with_name(alias.name)
        if f'"{alias.name}"' not in public and (inner.is_dir() or inner.with_suffix(".py").exists()):
            yield f"{module}.{alias.name}", []
        else:
            yield module, [alias.name]


def crossings(*folders: str) -> Iterator[tuple[Source, str, str, list[str]]]:
    """Imports that leave a package: (file, package it is in, module imported, names)."""
    for source in python_sources(*folders):
        for module, names in imports(source):
            if package_of(module) != package_of(source.module):
                yield source, package_of(source.module), module, names


def test_storage_imports_nothing_of_the_server() -> None:
    assert [s.name for s, here, module, _ in crossings("storage") if module.startswith("server")] == []


def test_arrows_go_down() -> None:
    wrong = [
        f"{source.name} imports {module}"
        for source, here, module, _ in crossings("server")
        if here in MAY_IMPORT and package_of(module) not in MAY_IMPORT[here] | {"storage"}
    ]
    assert wrong == []


def test_the_configuration_stores_nothing() -> None:
    users = {here for _, here, module, _ in crossings("server") if package_of(module) == "storage"}
    assert users & (CONFIGURATION | {"access", "warehouse", "embedded", "logs"}) == set()


def test_relative_imports_stay_in_their_package() -> None:
    nodes = [
        (source.name, node)
        for source in python_sources("server", "storage")
        for node in ast.walk(source.tree)
    ]
    assert [name for name, node in nodes if isinstance(node, ast.ImportFrom) and node.level > 1] == []


def test_nothing_imports_the_entries() -> None:
    wrong = [
        f"{source.name} imports {module}"
        for source, here, module, _ in crossings("server")
        if package_of(module) in ENTRY and here not in ENTRY
    ]
    assert wrong == []


def test_every_part_of_the_server_has_its_place() -> None:
    known = set(MAY_IMPORT) | COMPOSITION | ENTRY | {"server"}
    assert {package_of(source.module) for source in python_sources("server")} - known == set()


def test_packages_are_entered_through_their_public_names() -> None:
    wrong = [
        f"{source.name} imports {module}"
        for source, _, module, _ in crossings("server", "storage")
        if package_of(module) not in ENTERED_BY_MODULE and is_inner(module)
    ]
    assert wrong == []


def is_inner(module: str) -> bool:
    parts = module.split(".")
    return len(parts) > (2 if parts[0] == "server" else 1)


def test_no_private_name_crosses_a_border() -> None:
    wrong = [
        f"{source.name} takes {name} from {module}"
        for source, _, module, names in crossings("server", "storage", "bench", "loadtests")
        for name in names
        if name.startswith("_") and not name.startswith("__")
    ]
    assert wrong == []


def test_public_names_are_listed_and_there() -> None:
    for source in python_sources("server", "storage"):
        if source.name.endswith("/__init__.py") and source.text.strip():
            listed = [
                n for n in ast.walk(source.tree) if isinstance(n, ast.Assign) and "__all__" in ast.unparse(n)
            ]
            takes = [n for n in source.tree.body if isinstance(n, ast.ImportFrom)]
            assert bool(listed) == bool(takes), source.name
