"""What tests of the whole share: Google's metadata server, and the places that are loaded to."""

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from dlt.common.configuration.specs import GcpServiceAccountCredentials
from google.oauth2.credentials import Credentials

from tests.end_to_end.support.places import SERVICE_ACCOUNT, BigQueryPlace, BucketPlace, CloudStoragePlace, Place
from tests.fakes import FakeMetadata, google_environment
from tests.fakes.bigquery import PYTHON, BigQueryFront, Emulator
from tests.fakes.gcs import FakeGcs, binary
from tests.function import free_port
from tests.sample_api import SampleApi, World


@pytest.fixture
def api(world: World) -> Iterator[SampleApi]:
    """Serve the world of the test's module."""
    with SampleApi(world) as server:
        yield server


@pytest.fixture(scope="session")
def google() -> Iterator[FakeMetadata]:
    with FakeMetadata() as server:
        yield server


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    if not PYTHON.exists():
        skip("There is no BigQuery emulator: it needs Python 3.13, with which `make test` sets it up.")
    with Emulator(tmp_path_factory.mktemp("bigquery"), free_port(), free_port()) as started:
        yield started


def skip(reason: str) -> None:
    """Skip a test, or let it fail where all must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


DATASETS = (f"analytics_{number}" for number in count(1))


@pytest.fixture
def bigquery(
    emulator: Emulator, google: FakeMetadata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BigQueryPlace]:
    """Give an empty place of its own in the one emulator."""
    with BigQueryFront(emulator.port) as front:
        place = BigQueryPlace(front, next(DATASETS), google_environment(tmp_path, google))
        for name, value in place.variables.items():
            monkeypatch.setenv(name, value)
        credentials = Credentials("token")  # type: ignore[no-untyped-call]
        monkeypatch.setenv("DESTINATION__BIGQUERY__CREDENTIALS", SERVICE_ACCOUNT)
        monkeypatch.setattr(GcpServiceAccountCredentials, "to_native_credentials", lambda _: credentials)
        yield place


@pytest.fixture
def cloud_storage(google: FakeMetadata, tmp_path: Path) -> Iterator[CloudStoragePlace]:
    """Give an empty bucket."""
    if binary() is None:
        pytest.skip("fake-gcs-server comes for Linux on x86-64 only")
    with FakeGcs() as front:
        front.make_bucket("lake")
        environment = {**google_environment(tmp_path, google), **front.environment()}
        without_account = {"gcs_base_url": front.url, "disable_oauth": True, "private_key_id": ""}
        account = json.dumps({**without_account, "client_email": "", "private_key": ""})
        yield CloudStoragePlace("gs://lake", environment, {"google_service_account_key": account}, front)


@pytest.fixture
def folder(tmp_path: Path) -> BucketPlace:
    """Give a local folder."""
    return BucketPlace(str(tmp_path / "bucket"), {"HOME": str(tmp_path)})


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """Give the place that a test names in its parameters."""
    found: Any = request.getfixturevalue(request.param)
    return found  # type: ignore[no-any-return]
