"""Which names of fields say that what they hold is secret."""

import pytest
from msgspec.structs import fields

from server.catalog import is_secret
from server.management import KINDS

SECRET = [
    "password",
    "PGPASSWORD",
    "sslpassword",
    "db_passwd",
    "token",
    "access_token",
    "adminToken",
    "client_secret",
    "clientSecretKey",
    "apiKey",
    "API-KEY",
    "awsAccessKeyId",
    "aws_secret_access_key",
    "private_key",
    "privateKey",
    "sslkey",
    "credentials",
    "serviceAccountKey",
    "Authorization",
    "proxy-authorization",
    "functionsEnv",
    "passphrase",
]
OPEN = [
    "name",
    "id",
    "hash",
    "hint",
    "privateKeys",
    "publicKeys",
    "primaryKey",
    "primary_key",
    "tableName",
    "host",
    "author",
    "keepOriginalNames",
]


@pytest.mark.parametrize("name", SECRET)
def test_a_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", OPEN)
def test_no_secret(name: str) -> None:
    assert not is_secret(name)


def test_a_table_may_be_called_like_a_secret() -> None:
    assert not is_secret("tokens", inside="streams")
    assert is_secret("tokens", inside="data")


def test_no_field_of_ours_is_hidden_by_chance() -> None:
    known = {field.encode_name for kind in KINDS.values() for field in fields(kind.shape)}
    assert {name for name in known if is_secret(name)} == {"credentials"}
