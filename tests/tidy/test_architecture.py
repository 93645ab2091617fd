"""ARCHITECTURE.md, README.md and docs say what is: the tests, places and seams they name exist."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from functools import cache

import pytest

from tests.tidy.sources import ROOT, python_sources

DOCUMENTS = (
    *("ARCHITECTURE.md", "README.md", "CHANGELOG.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
)
LINES_MAX = 500
_TEST = re.compile(r"(?:\b(test_\w+\.py)|(?<=`)(?=::))(?:::(\w+))?")
_PLACE = re.compile(r"(?<![\w/<.-])((?:server|storage|tests|bench|conf|docs|loadtests)/[\w./-]*\w/?)")
_SEAM = re.compile(r"(?P<owner>\w+)(?:\.(?P<member>\w+))?(?:\((?P<parameters>.*?)\))?(?:(?: ->|:) .+)?")


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


@cache
def files_of_tests() -> dict[str, list[set[str]]]:
    """Name of a test file → for each file of that name, what can be named in it."""
    files: dict[str, list[set[str]]] = {}
    for source in python_sources("tests"):
        names = {ast.unparse(target) for node in source.tree.body for target in getattr(node, "targets", [])}
        names |= {node.name for node in source.tree.body if hasattr(node, "name")}
        files.setdefault(source.name.rsplit("/", 1)[-1], []).append(names)
    return files


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_exists(document: str) -> None:
    missing = []
    there: set[str] = set()
    for file, name in _TEST.findall(text_of(document)):
        if file:  # else the file named last
            files = files_of_tests().get(file, [])
            there = files[0] if len(files) == 1 else set()
        if not there or (name and name not in there):
            missing.append(f"{file}::{name}")
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_place_that_is_named_exists(document: str) -> None:
    assert [place for place in _PLACE.findall(text_of(document)) if not (ROOT / place).exists()] == []


def test_every_invariant_is_attacked() -> None:
    section = text_of("ARCHITECTURE.md").split("## Invariants")[1].split("\n## ")[0]
    invariants = re.split(r"^- \*\*(?=I\d)", section, flags=re.MULTILINE)[1:]
    assert [int(text[1:].partition(".")[0]) for text in invariants] == [*range(1, len(invariants) + 1)]
    assert [text[:60] for text in invariants if "::" not in text] == []


def test_decisions_are_numbered() -> None:
    numbers = re.findall(r"^- \*\*D(\d+)\.", text_of("ARCHITECTURE.md"), re.MULTILINE)
    assert [int(number) for number in numbers] == [*range(1, len(numbers) + 1)]


def test_the_architecture_can_be_held_in_mind() -> None:
    assert text_of("ARCHITECTURE.md").count("\n") <= LINES_MAX


def seams() -> list[tuple[str, str]]:
    """(module, signature) of everything that docs/seams.md lists."""
    blocks = re.findall(r"## `([\w.]+)`\n```python\n(.*?)```", text_of("docs/seams.md"), re.DOTALL)
    lines = [(module, line.partition(" #")[0]) for module, block in blocks for line in block.splitlines()]
    return [(module, signature.strip()) for module, line in lines for signature in line.split("; ")]


@pytest.mark.parametrize(("module", "signature"), seams(), ids=lambda text: text.partition("(")[0])
def test_every_seam_exists_with_its_parameters(module: str, signature: str) -> None:
    parts = _SEAM.fullmatch(signature)
    assert parts is not None, signature
    thing = getattr(importlib.import_module(module), parts["owner"])
    if parts["member"] is not None:
        if not hasattr(thing, parts["member"]):
            assert re.search(rf"self\.{parts['member']}\b.* = ", inspect.getsource(thing)), signature
            return
        thing = getattr(thing, parts["member"])
    if parts["parameters"] is not None:
        assert named(parts["parameters"]) == needed(thing, named(parts["parameters"]))


def needed(function: Callable[..., object], known: list[str]) -> list[str]:
    """Its parameters, but for those that a caller who does not know them can leave out."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.name != "self" and (p.name in known or p.default is p.empty)]


def named(parameters: str) -> list[str]:
    """The names in a parameter list."""
    function = ast.parse(f"def f({parameters}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    return [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
