"""Secrets at rest and in answers."""

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.management import MASK, SecretBox, SecretError, masked, unmasked

BODY: dict[str, Any] = {
    "datasource": {"host": "db", "password": "pw", "parameters": {"sslkey": "pem", "sslmode": "prefer"}},
    "browser_keys": [{"id": "a", "token": "a:1"}, {"id": "b", "token": "b:2"}],
    "credentials": {"account": 7, "tokens": ["x", "y"], "empty": ""},
}
NAMES = st.sampled_from(["password", "token", "credentials", "host", "a"])
VALUES = st.recursive(
    st.none() | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def test_the_key_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    sealed = SecretBox.open(tmp_path).seal("hunter2 ✓")
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert "hunter2" not in sealed
    assert SecretBox.open(tmp_path).unseal(sealed) == "hunter2 ✓"


def test_what_is_sealed_is_never_the_same_twice(tmp_path: Path) -> None:
    box = SecretBox.open(tmp_path)
    assert box.seal("x") != box.seal("x")
    assert box.digest("x") == box.digest("x") != SecretBox(bytes(32)).digest("x")


def test_another_key_file_and_any_change_are_told(tmp_path: Path) -> None:
    box = SecretBox.open(tmp_path)
    sealed = box.seal("hunter2")
    with pytest.raises(SecretError, match=r"secret\.key"):
        SecretBox(bytes(32)).unseal(sealed)
    for changed in ("", "!", sealed[:-4], "A" + sealed[1:] if sealed[0] != "A" else "B" + sealed[1:]):
        with pytest.raises(SecretError):
            box.unseal(changed)


@pytest.mark.parametrize("content", ["", "zz", "00" * 31])
def test_a_damaged_key_file_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret.key").write_text(content)
    with pytest.raises(SecretError, match=r"is damaged: put back the secret\.key"):
        SecretBox.open(tmp_path)
    assert (tmp_path / "secret.key").read_text() == content


def test_a_key_file_that_others_could_read_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    SecretBox.open(tmp_path)
    (tmp_path / "secret.key").chmod(0o644)
    SecretBox.open(tmp_path)
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert "could be read by others" in caplog.text


def test_every_secret_is_masked_and_nothing_else() -> None:
    assert masked(BODY) == {
        "datasource": {"host": "db", "password": MASK, "parameters": {"sslkey": MASK, "sslmode": "prefer"}},
        "browser_keys": [{"id": "a", "token": MASK}, {"id": "b", "token": MASK}],
        "credentials": {"account": MASK, "tokens": [MASK, MASK], "empty": ""},
    }


def test_the_mask_keeps_what_is_stored_by_id_in_lists() -> None:
    sent = masked(BODY)
    sent["browser_keys"].reverse()
    sent["credentials"]["tokens"] = [MASK, "new"]
    kept = unmasked(sent, BODY)
    assert kept["datasource"] == BODY["datasource"]
    assert kept["browser_keys"] == BODY["browser_keys"][::-1]
    assert kept["credentials"]["tokens"] == ["x", "new"]


def test_a_mask_over_nothing_is_left_out_and_a_name_may_be_the_mask() -> None:
    sent = {
        "name": MASK,
        "password": MASK,
        "credentials": {"list": [MASK]},
        "browser_keys": [{"token": MASK}],
    }
    assert unmasked(sent, None) == {"name": MASK, "credentials": {"list": []}, "browser_keys": [{}]}


@given(VALUES)
def test_masking_and_sending_it_back_changes_nothing(value: Any) -> None:
    assert unmasked(masked({"object": value}), {"object": value}) == {"object": value}
