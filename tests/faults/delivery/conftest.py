"""What several tests of delivery need."""

from collections.abc import Iterator

import pytest

from tests.conftest import fresh_database


@pytest.fixture
def other(postgres_url: str) -> Iterator[str]:
    """Another database than `database`."""
    with fresh_database(postgres_url) as url:
        yield url
