"""How a change is put over an object: the examples of RFC 7396, and what holds for any two documents."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.management.merge import merge_patch, merged_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
APPENDIX: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), APPENDIX)
def test_the_examples_of_the_rfc(target: object, patch: object, result: object) -> None:
    assert merge_patch(target, patch) == result


@given(JSON, JSON)
def test_a_patch_twice_is_a_patch_once(target: object, patch: object) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.text(max_size=3))
def test_null_removes_and_nothing_else_goes(target: dict[str, object], key: str) -> None:
    assert merge_patch(target, {key: None}) == {name: value for name, value in target.items() if name != key}
    assert merge_patch(target, {}) == target


def test_the_options_of_a_link_are_replaced() -> None:
    stored = {"from": "a", "to": "b", "data": {"mode": "stream", "frequency": 7}}
    assert merged_object("link", stored, {"data": {"mode": "batch"}})["data"] == {"mode": "batch"}
    assert merged_object("link", stored, {"from": "a"}) == stored
    assert merged_object("stream", stored, {"data": {"mode": "x"}})["data"] == {"mode": "x", "frequency": 7}
