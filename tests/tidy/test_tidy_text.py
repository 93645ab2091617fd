"""What must not stand in any file: unfinished work, places of one machine, index hosts, silent skips."""

import ast
import re
import tomllib

import pytest

from tests.tidy.sources import ROOT, python_sources, text_files

UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
MACHINE = re.compile(r"(?<![\w.])/(work|ro" + r"ot|Users)/")
LOCKS = ("requirements.lock", "requirements-dev.lock")


def hits(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in text_files().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_unfinished() -> None:
    assert hits(UNFINISHED) == []


def test_no_place_of_one_machine() -> None:
    assert hits(MACHINE) == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_pin_hashes_and_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index-url" not in text
    entries = re.findall(r"^([a-z0-9._-]+)==\S+.*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(blocks) > 10
    assert all("--hash=sha256:" in block for block in blocks)


def test_every_dependency_says_what_it_is_for() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    for dependency in tomllib.loads(text)["project"]["dependencies"]:
        line = next(line for line in text.splitlines() if dependency in line)
        assert "# " in line, dependency


def test_lock_files_have_every_dependency() -> None:
    locked = {line.partition("==")[0] for line in (ROOT / LOCKS[0]).read_text().splitlines() if "==" in line}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[<>=~]", name)[0] for name in wanted} <= locked


def test_no_test_is_skipped_without_a_reason() -> None:
    silent = [
        f"{source.name}:{node.lineno}"
        for source in python_sources("tests")
        for node in ast.walk(source.tree)
        if is_skip(node) and not has_reason(node)
    ]
    assert silent == []


def is_skip(node: ast.AST) -> bool:
    """A skip or expected failure, as a call or as a bare mark."""
    if isinstance(node, ast.Call):
        return bool(re.search(r"\b(pytest|mark)\.(skip|skipif|xfail)$", ast.unparse(node.func)))
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
        re.search(r"\bmark\.(skip|xfail)$", ast.unparse(decorator)) for decorator in node.decorator_list
    )


def has_reason(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    named = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
    called = ast.unparse(node.func).endswith("skip") and bool(node.args)
    return called or any(not (isinstance(value, ast.Constant) and not value.value) for value in named)
