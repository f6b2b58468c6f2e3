"""What tests of the whole share: Google's metadata server, and BigQuery."""

import os
from collections.abc import Iterator
from itertools import count

import pytest
from dlt.common.configuration.specs import GcpServiceAccountCredentials
from google.oauth2.credentials import Credentials

from tests.end_to_end.support.places import SERVICE_ACCOUNT, BigQueryPlace
from tests.fakes import FakeMetadata
from tests.fakes.bigquery import PYTHON, BigQueryFront, Emulator
from tests.function import free_port


@pytest.fixture(scope="session")
def google() -> Iterator[FakeMetadata]:
    with FakeMetadata() as server:
        yield server


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    if not PYTHON.exists():
        reason = "There is no BigQuery emulator: it needs Python 3.13, with which `make test` sets it up."
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with Emulator(tmp_path_factory.mktemp("bigquery"), free_port(), free_port()) as started:
        yield started


DATASETS = (f"analytics_{number}" for number in count(1))


@pytest.fixture
def bigquery(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[BigQueryPlace]:
    """Give an empty place of its own in the one emulator."""
    with BigQueryFront(emulator.port) as front:
        place = BigQueryPlace(front, next(DATASETS))
        for name, value in place.environment.items():
            monkeypatch.setenv(name, value)
        credentials = Credentials("token")  # type: ignore[no-untyped-call]
        monkeypatch.setenv("DESTINATION__BIGQUERY__CREDENTIALS", SERVICE_ACCOUNT)
        monkeypatch.setattr(GcpServiceAccountCredentials, "to_native_credentials", lambda _: credentials)
        yield place
