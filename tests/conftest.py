"""What all tests share."""

import logging
from collections.abc import Iterator

import pytest

from loader import log


@pytest.fixture
def own_log() -> Iterator[None]:
    """Put logging back as it was, after a test that installs the product's."""
    root, loader = logging.getLogger(), logging.getLogger(log.NAME)
    before, level = list(root.handlers), loader.level
    yield
    root.handlers[:] = before
    loader.setLevel(level)
