"""The files that the tidy tests look at, parsed once."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("server", "storage", "tests", "bench", "loadtests", "conf", "docs", ".ci")
PRODUCT = ("server", "storage")
FOREIGN = ROOT / "tests" / "sdk" / "drivers"
"""Taken over unchanged: recorded traffic was made with these very files."""


@dataclass(frozen=True)
class Source:
    """One Python file; `name` is its path from the root."""

    name: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Its dotted name."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def python_sources(*folders: str) -> tuple[Source, ...]:
    """Every Python file below the folders."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    texts = [(path, path.read_text("utf-8")) for path in paths if not path.is_relative_to(FOREIGN)]
    return tuple(Source(str(path.relative_to(ROOT)), text, ast.parse(text)) for path, text in texts)


@cache
def text_files() -> dict[str, str]:
    """Every file of ours that is text: sources, configuration, documents; not the lock files, not data."""
    kinds = {".py", ".md", ".yaml", ".yml", ".toml", ".sql", ".html", ".sh", ""}
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    paths += [path for path in ROOT.iterdir() if path.name != ".git"]
    found = {}
    for path in paths:
        if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts:
            found[str(path.relative_to(ROOT))] = path.read_text("utf-8", "replace")
    return found
