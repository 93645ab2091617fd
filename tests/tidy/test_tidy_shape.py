"""Sizes and names: a file can be held in mind, a function can be seen, a module is a noun."""

import ast
from pathlib import PurePath

import pytest

from tests.tidy.sources import PRODUCT, Source, python_sources

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc"}
EVERYWHERE = (*PRODUCT, "tests", "bench", "loadtests")


def ids(source: Source) -> str:
    return source.name


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("source", python_sources(*EVERYWHERE), ids=ids)
def test_a_file_can_be_held_in_mind(source: Source) -> None:
    assert source.text.count("\n") <= FILE_LINES_MAX
    long = [
        f"{node.name}: {body_lines(node)} lines"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and body_lines(node) > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("source", python_sources(*PRODUCT), ids=ids)
def test_a_module_is_a_noun_that_says_what_it_owns(source: Source) -> None:
    assert not {part.removesuffix(".py") for part in PurePath(source.name).parts} & FORBIDDEN_NAMES
    if source.tree.body:
        assert ast.get_docstring(source.tree), "no module docstring"


@pytest.mark.parametrize("source", python_sources("server/routes"), ids=ids)
def test_routes_keep_real_annotations(source: Source) -> None:
    """BlackSheep wraps a handler whose annotations are text: 0.54 → 0.85 µs for each call."""
    assert "from __future__ import annotations" not in source.text


def test_the_median_function_is_short() -> None:
    lengths = sorted(
        body_lines(node)
        for source in python_sources(*PRODUCT)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert lengths[len(lengths) // 2] < 10
