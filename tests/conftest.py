"""What all tests share."""

import dataclasses
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from loader import log
from loader.deadline import Deadline
from loader.lease import Lease, LeaseStore
from loader.settings import Settings


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of whoever runs the tests be one of theirs."""
    for field in dataclasses.fields(Settings):
        monkeypatch.delenv(field.name.upper(), raising=False)


@pytest.fixture(autouse=True)
def no_lease_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Renew no longer what a test leaves held, as the dead do: its destination is gone."""
    held: list[Lease] = []
    take = Lease.__init__

    def noted(lease: Lease, store: LeaseStore, deadline: Deadline, inherited: Mapping[str, Any]) -> None:
        take(lease, store, deadline, inherited)
        held.append(lease)

    monkeypatch.setattr(Lease, "__init__", noted)
    yield
    for lease in held:
        lease.abandon()


@pytest.fixture
def own_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put logging back as it was, after a test that installs the product's."""
    for module, hook in ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook")):
        monkeypatch.setattr(module, hook, getattr(module, hook))
    factory, root = logging.getLogRecordFactory(), logging.getLogger()
    before, levels = list(root.handlers), {name: logging.getLogger(name).level for name in (log.NAME, log.CHATTY)}
    yield
    logging.captureWarnings(capture=False)
    logging.setLogRecordFactory(factory)
    root.handlers[:] = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
