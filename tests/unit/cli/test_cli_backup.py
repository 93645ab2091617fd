"""`penstock backup` and `restore` where there is nothing to copy, or nowhere to copy it to."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import main
from server.clock import SystemClock
from storage import Store, StoreOptions


@pytest.fixture
def conf(tmp_path: Path) -> str:
    path = tmp_path / "conf.yaml"
    path.write_text(f"store: {{path: {tmp_path / 'data'}}}\nserver: {{admin_token: secret, port: 1}}\n")
    return str(path)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def make_store(path: Path) -> Path:
    Store.open(path, StoreOptions(free_bytes_min=0), SystemClock()).close()
    return path


def test_a_stopped_store_goes_there_and_back(tmp_path: Path, conf: str) -> None:
    make_store(tmp_path / "data")
    done = run("backup", str(tmp_path / "backup"), "--conf", conf)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "has not: the configuration file, secret.key, any Postgres" in done.stdout
    made = run("restore", str(tmp_path / "backup"), "--data", str(tmp_path / "back"), "--conf", conf)
    assert (made.exit_code, made.stderr) == (0, "")
    assert "every checksum right" in made.stdout
    make_store(tmp_path / "back")


def test_where_there_is_no_store(tmp_path: Path, conf: str) -> None:
    done = run("backup", str(tmp_path / "backup"), "--conf", conf)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: there is no store in {tmp_path / 'data'}")
    assert not (tmp_path / "data").exists()


def test_a_store_in_use_by_a_process_that_does_not_answer(tmp_path: Path, conf: str) -> None:
    store = Store.open(tmp_path / "data", StoreOptions(free_bytes_min=0), SystemClock())
    done = run("backup", str(tmp_path / "backup"), "--conf", conf)
    store.close()
    assert done.exit_code == 1
    assert "no answer from http://" in done.stderr


def test_the_store_of_another_user_is_left_to_its_server(tmp_path: Path, conf: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root (CI runs as root)")
    os.chown(make_store(tmp_path / "data") / "store.json", 65534, 65534)
    done = run("backup", str(tmp_path / "backup"), "--conf", conf)
    assert done.exit_code == 1
    assert "user 65534's" in done.stderr
    (tmp_path / "back").mkdir()
    os.chown(tmp_path / "back", 65534, 65534)
    refused = run("restore", str(tmp_path), "--data", str(tmp_path / "back"), "--conf", conf)
    assert "belongs to user 65534" in refused.stderr


def test_a_folder_that_is_no_backup(tmp_path: Path, conf: str) -> None:
    done = run("restore", str(tmp_path), "--conf", conf)
    assert done.exit_code == 1
    assert "it is no backup" in done.stderr
    assert done.stderr.count("\n") == 1
    assert run("restore", str(tmp_path / "nothing"), "--conf", conf).exit_code == 2
