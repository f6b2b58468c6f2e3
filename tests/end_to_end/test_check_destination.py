"""A look tries the destination without writing: credentials, bucket or data set, permissions."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gcsfs
import pytest

from loader.check import check
from loader.destination.trial import try_bucket
from loader.errors import DestinationError
from tests.clock import DrivenClock
from tests.end_to_end.support import Loading, sample_config
from tests.end_to_end.support.places import BigQueryLoading, BigQueryPlace
from tests.fakes import FakeMetadata
from tests.fakes.bigquery import refusal
from tests.fakes.environment import google_environment
from tests.fakes.gcs import FakeGcs, binary
from tests.function import ROOT
from tests.sample_api import KEY, Behaviour, SampleApi, World


def problems(loading: Loading) -> list[str]:
    """Give what is said of the destination."""
    checked = check("contacts", loading.settings, loading.module(), DrivenClock())
    assert {finding.code for finding in checked.findings} <= {"destination"}
    return [finding.message for finding in checked.findings]


@pytest.fixture
def api() -> Iterator[SampleApi]:
    with SampleApi(World({"contacts": 9})) as server:
        yield server


def test_a_folder_is_not_made(api: SampleApi, tmp_path: Path) -> None:
    assert problems(Loading(tmp_path / "not" / "there", lambda: sample_config(api))) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(api: SampleApi, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    [problem] = problems(Loading(tmp_path / "data", lambda: sample_config(api)))
    assert "data is no folder" in problem


@pytest.mark.skipif(binary() is None, reason="fake-gcs-server comes for Linux on x86-64 only")
def test_a_bucket_and_what_may_be_done_in_it() -> None:
    with FakeGcs() as gcs:
        gcs.make_bucket("lake")
        files = gcsfs.GCSFileSystem(token="anon", endpoint_url=gcs.url, skip_instance_cache=True)
        try_bucket(files, "lake")
        gcs.denied = {"storage.objects.create"}
        with pytest.raises(DestinationError, match=r"storage\.objects\.create are missing\. Grant roles/storage"):
            try_bucket(files, "lake")
        with pytest.raises(DestinationError, match="There is no bucket sea"):
            try_bucket(files, "sea")
        assert gcs.names("lake") == []


@pytest.mark.long
@pytest.mark.skipif(binary() is None, reason="fake-gcs-server comes for Linux on x86-64 only")
@pytest.mark.parametrize(("bucket", "codes"), [("lake", []), ("sea", ["destination"])])
def test_the_same_from_a_shell(api: SampleApi, tmp_path: Path, bucket: str, codes: list[str]) -> None:
    with FakeMetadata() as metadata, FakeGcs() as gcs:
        gcs.make_bucket("lake")
        environment = {
            **google_environment(tmp_path, metadata),
            **gcs.environment(),
            "API_KEY": KEY,
            "BASE_URL": api.url,
            "BUCKET_URL": f"gs://{bucket}/raw",
            "PATH": os.environ["PATH"],
        }
        command = [sys.executable, "main.py", "--check", "contacts", "--json"]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert [finding["code"] for finding in json.loads(done.stdout)["findings"]] == codes, done.stderr
        assert done.returncode == len(codes)
        assert gcs.names("lake") == []


def test_data_sets_of_bigquery_and_what_may_be_done_in_them(api: SampleApi, bigquery: BigQueryPlace) -> None:
    loading = BigQueryLoading(Path(), lambda: sample_config(api), dataset=bigquery.dataset)
    assert problems(loading) == []
    with bigquery.client() as client:
        assert bigquery.dataset not in [each.dataset_id for each in client.list_datasets()]
        client.create_dataset(bigquery.dataset)
        client.create_dataset(bigquery.staging)
    assert problems(loading) == []
    assert bigquery.tables() == []
    bigquery.front.meddle = lambda call, _: refusal("accessDenied") if "CREATE TABLE" in call.sql else None
    api.world.behave(Behaviour(daily_limit=0, daily_retry_after=50))
    checked = check("contacts", loading.settings, loading.module(), DrivenClock())
    assert [finding.code for finding in checked.findings] == ["unreachable", "destination"]
    assert "roles/bigquery.dataEditor" in checked.findings[1].message
    assert bigquery.tables() == []
