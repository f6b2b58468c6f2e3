"""What tests of the whole share: Google's metadata server, and a folder's tables."""

from collections.abc import Iterator

import pytest

from tests.fakes import FakeMetadata


@pytest.fixture(scope="session")
def google() -> Iterator[FakeMetadata]:
    with FakeMetadata() as server:
        yield server
