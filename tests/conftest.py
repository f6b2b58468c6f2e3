"""What all tests share."""

import dataclasses
import logging
from collections.abc import Iterator

import pytest

from loader import log
from loader.settings import Settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of whoever runs the tests be one of theirs."""
    for field in dataclasses.fields(Settings):
        monkeypatch.delenv(field.name.upper(), raising=False)


@pytest.fixture
def own_log() -> Iterator[None]:
    """Put logging back as it was, after a test that installs the product's."""
    root, loader = logging.getLogger(), logging.getLogger(log.NAME)
    before, level = list(root.handlers), loader.level
    yield
    root.handlers[:] = before
    loader.setLevel(level)
