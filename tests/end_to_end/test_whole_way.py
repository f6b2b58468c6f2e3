"""The whole way: over HTTP, through functions-framework, from a real socket into real tables."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from loader.clock import SystemClock
from loader.deadline import Deadline
from loader.errors import SettingsError
from loader.secret import fetch
from tests.end_to_end.support import columns_of, ids_of, rows_of
from tests.fakes import FakeMetadata, FakeSecretManager, google_environment
from tests.function import ROOT, Function
from tests.sample_api import RESOURCES, Behaviour, Failure, SampleApi, World

KEY = 'a "key"/with+signs & ümlaut=%'
VERSION = "projects/p/secrets/api-key/versions/latest"
COUNTS = {"conversations": 1234, "contacts": 500, "conversation_parts": 99, "teams": 1, "companies": 0}
ANSWER_FIELDS = {
    *("resource", "status", "rows", "pages", "chunks", "place", "pass", "schema_changes", "deleted", "continued"),
    *("reason", "seconds"),
}


@dataclass(frozen=True, slots=True)
class Setup:
    """A function, what it loads from, and where to."""

    function: Function
    api: SampleApi
    bucket: Path

    def asked(self, resource: str) -> int:
        """Count the requests for a resource."""
        return len([request for request in self.api.requests if request.resource == resource])


@pytest.fixture(scope="module")
def with_total(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("with-total")
    with SampleApi(World(COUNTS), key=KEY) as api:
        settings = {"HOME": str(folder), "API_KEY": KEY, "BASE_URL": api.url, "BUCKET_URL": str(folder / "data")}
        with Function({**settings, "LOG_LEVEL": "DEBUG"}, folder / "log.txt") as function:
            yield Setup(function, api, folder / "data")
            assert_clean(function.log)


@pytest.fixture(scope="module")
def secrets() -> Iterator[FakeSecretManager]:
    with FakeSecretManager({VERSION: f"{KEY}\n".encode()}) as server:
        yield server


@pytest.fixture(scope="module")
def without_total(
    tmp_path_factory: pytest.TempPathFactory, google: FakeMetadata, secrets: FakeSecretManager
) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("without-total")
    with SampleApi(World(COUNTS, Behaviour(total=False)), key=KEY) as api:
        settings = {"API_KEY_SECRET": VERSION, "BASE_URL": api.url, "BUCKET_URL": str(folder / "data")}
        environment = google_environment(folder, google, secret_manager=secrets)
        with Function({**environment, **settings, "LOG_LEVEL": "DEBUG"}, folder / "log.txt") as function:
            yield Setup(function, api, folder / "data")
            assert_clean(function.log)


def assert_clean(log: str) -> None:
    """All that the function wrote is JSON lines of ours, and in none of them is the key."""
    messages = "\n".join(json.loads(line)["message"] for line in log.splitlines())
    for text in (log, messages):
        for spelling in (KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY), KEY.replace('"', '\\"')):
            assert spelling not in text


@pytest.mark.parametrize("total", [pytest.param(True, id="with_total"), pytest.param(False, id="without_total")])
def test_each_row_is_in_its_table_once_and_every_request_is_plain(
    request: pytest.FixtureRequest, *, total: bool
) -> None:
    setup: Setup = request.getfixturevalue("with_total" if total else "without_total")
    for resource, count in COUNTS.items():
        response = setup.function.post({"resource": resource})
        answer = response.json()
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
        assert set(answer) == ANSWER_FIELDS
        assert (answer["resource"], answer["status"], answer["rows"]) == (resource, "complete", count)
        assert (answer["place"], answer["continued"], answer["reason"]) == (None, False, None)
        assert answer["pass"]["rows"] == count
        assert ids_of(setup.bucket, resource) == list(range(1, count + 1))
        asked = [each for each in setup.api.requests if each.resource == resource]
        assert asked
        assert all(each.query == {"api_key": KEY, "limit": "100", "offset": each.query["offset"]} for each in asked)
    status = setup.function.get().json()
    assert (status["source"], status["destination"], status["dataset"]) == ("analytics", "filesystem", "analytics")
    assert {name: (each["status"], each["pass_rows"]) for name, each in status["resources"].items()} == {
        name: ("complete", count) for name, count in COUNTS.items()
    }


def test_a_second_pass_changes_what_has_changed_and_doubles_nothing(with_total: Setup) -> None:
    with_total.function.post({"resource": "contacts"})
    with_total.api.world.touch("contacts", 7, name="Grace")
    answer = with_total.function.post({"resource": "contacts"}).json()
    assert (answer["status"], answer["rows"], answer["schema_changes"]) == ("complete", 1, [])
    assert answer["pass"]["rows"] == 500
    rows = rows_of(with_total.bucket, "contacts", "id, name, revision")
    assert len(rows) == 500
    assert {"id": 7, "name": "Grace", "revision": 2} in rows


def test_columns_have_the_types_of_the_rows(with_total: Setup) -> None:
    with_total.function.post({"resource": "conversations"})
    found = columns_of(with_total.bucket, "conversations")
    assert found.pop("_dlt_load_id")[0] == found.pop("_dlt_id")[0] == "string"
    assert found.pop("_loader_row_hash") == ("binary", True)
    assert found == {
        "id": ("long", False),
        "created_at": ("timestamp", True),
        "updated_at": ("timestamp", True),
        "revision": ("long", True),
        "subject": ("string", True),
        "state": ("string", True),
        "priority": ("boolean", True),
        "waiting_since": ("timestamp", True),
        "last_seen_at": ("long", True),
        "rating": ("double", True),
        "source__type": ("string", True),
        "source__author__name": ("string", True),
        "source__author__email": ("string", True),
        "tags": ("string", True),
        "participant_ids": ("string", True),
        "statistics__replies": ("long", True),
        "statistics__first_reply_seconds": ("double", True),
    }
    sent = {row["id"]: row for row in with_total.api.world.snapshot("conversations")}
    for row in rows_of(with_total.bucket, "conversations"):
        source = sent[row["id"]]
        assert row["created_at"].strftime("%Y-%m-%dT%H:%M:%SZ") == source["created_at"]
        assert (row["waiting_since"] is None) == (source["waiting_since"] is None)
        assert (row["subject"], row["rating"]) == (source["subject"], source["rating"])
        assert row["source__author__name"] == source["source"]["author"]["name"]
        assert json.loads(row["tags"]) == source["tags"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_a_status_that_is_not_to_be_retried_is_asked_for_once(with_total: Setup, status: int) -> None:
    before = with_total.asked("teams")
    with_total.api.world.behave(Behaviour(fail_from=(1, Failure(status))), "teams")
    response = with_total.function.post({"resource": "teams"})
    assert with_total.asked("teams") - before == 1
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (502, "api")
    assert f"answered {status}" in error["message"]
    assert set(response.json()) == {"error", *ANSWER_FIELDS}
    assert response.json()["status"] == "failed"
    with_total.api.world.behave(Behaviour(), "teams")


BAD_REQUESTS = [
    pytest.param(b"not json", "no JSON", id="not_json"),
    pytest.param(b"", "no JSON", id="empty"),
    pytest.param(b"\xff\xfe", "no JSON", id="no_text"),
    pytest.param(b'["contacts"]', "no JSON object", id="a_list"),
    pytest.param({}, "names no resource", id="no_resource"),
    pytest.param({"resource": "nothing"}, "names no resource", id="unknown_resource"),
    pytest.param({"resource": "../teams"}, "names no resource", id="a_path"),
    pytest.param({"resource": 5}, '"resource" must be of type str', id="resource_is_a_number"),
    pytest.param({"resource": ["teams"]}, '"resource" must be of type str', id="resource_is_a_list"),
    pytest.param({"resource": None}, '"resource" must be of type str', id="resource_is_null"),
    pytest.param({"resource": "teams", "restart": "yes"}, '"restart" must be of type bool', id="restart_is_a_text"),
    pytest.param({"resource": "teams", "restart": 1}, '"restart" must be of type bool', id="restart_is_a_number"),
    pytest.param({"resource": "teams", "pass": 5}, '"pass" must be of type str', id="pass_is_a_number"),
    pytest.param({"resource": "teams", "limit": 5}, "mean nothing here", id="unknown_field"),
    pytest.param(b" " * (65 * 1024), "longer than 65536 bytes", id="too_long"),
    pytest.param(b"[" * 60_000, "no JSON", id="nested_too_deep"),
]


@pytest.mark.parametrize(("body", "problem"), BAD_REQUESTS)
def test_a_request_that_makes_no_sense_is_told_what_is_allowed(with_total: Setup, body: Any, problem: str) -> None:
    before = len(with_total.api.requests)
    response = with_total.function.post(body)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "request")
    assert problem in error["message"]
    assert all(name in error["message"] for name in (*RESOURCES, "restart", "pass"))
    assert len(with_total.api.requests) == before


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_another_method_is_told_which_are_allowed(with_total: Setup, method: str) -> None:
    before = len(with_total.api.requests)
    response = with_total.function.request(method, b'{"resource": "teams"}')
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (405, "request")
    assert "POST" in error["message"]
    assert "GET" in error["message"]
    assert len(with_total.api.requests) == before


TROUBLE: list[Any] = [
    pytest.param("denied", "is denied", "roles/secretmanager.secretAccessor", id="denied"),
    pytest.param("disabled", "is disabled or destroyed", "Enable it", id="disabled"),
    pytest.param("missing", "is missing", "Create the secret", id="missing"),
    pytest.param(b"\n", "is malformed: its payload is empty", "Add a version", id="empty"),
    pytest.param(b"\xff\xfe", "is malformed: its payload is not UTF-8 text", "Add a version", id="no_text"),
]


@pytest.mark.parametrize(("trouble", "what", "remedy"), TROUBLE)
def test_a_key_that_cannot_be_read_is_named_with_what_to_do(
    without_total: Setup, secrets: FakeSecretManager, trouble: Any, what: str, remedy: str
) -> None:
    before = len(without_total.api.requests)
    secrets.versions[VERSION] = trouble
    response = without_total.function.post({"resource": "teams"})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (500, "settings")
    assert all(text in error["message"] for text in (VERSION, what, remedy))
    assert len(without_total.api.requests) == before


def test_a_secret_manager_that_hangs_is_not_waited_for_beyond_the_deadline(
    tmp_path: Path, google: FakeMetadata, secrets: FakeSecretManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in google_environment(tmp_path, google, secret_manager=secrets).items():
        monkeypatch.setenv(name, value)
    secrets.versions[VERSION] = "hang"
    clock = SystemClock()
    with pytest.raises(SettingsError, match="Secret Manager did not answer"):
        fetch(VERSION, Deadline(clock, clock.monotonic() + 0.5))


def test_a_rotated_key_is_seen_by_the_next_run(without_total: Setup, secrets: FakeSecretManager) -> None:
    secrets.versions[VERSION] = b"the wrong key"
    refused = without_total.function.post({"resource": "teams"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (502, "api")
    assert "The API answered 401" in refused.json()["error"]["message"]
    secrets.versions[VERSION] = KEY.encode()
    assert without_total.function.post({"resource": "teams"}).status_code == 200


OAUTH2 = """\
                "type": "oauth2_client_credentials",
                "access_token_url": dlt.config["base_url"] + "/oauth/token",
                "client_id": dlt.secrets["client_id"],
                "client_secret": dlt.secrets["client_secret"],
"""
API_KEY = """\
                "type": "api_key",
                "name": "api_key",
                "api_key": dlt.secrets["api_key"],
                "location": "query",
"""


def test_a_json_object_in_the_secret_answers_for_several_names(
    tmp_path: Path, google: FakeMetadata, secrets: FakeSecretManager
) -> None:
    version = "projects/p/secrets/client/versions/1"
    secrets.versions[version] = b'{"client_id": "sample-client", "client_secret": "hush-hush"}'
    environment = google_environment(tmp_path / "google", google, secret_manager=secrets)
    text = (ROOT / "source_config.py").read_text()
    assert API_KEY in text
    (tmp_path / "source_config.py").write_text(text.replace(API_KEY, OAUTH2))
    with SampleApi(World(COUNTS, Behaviour(auth="bearer")), key="hush-hush") as api:
        settings = {"API_KEY_SECRET": version, "BASE_URL": api.url, "BUCKET_URL": str(tmp_path / "data")}
        with Function({**environment, **settings}, tmp_path / "log.txt", tmp_path) as function:
            assert function.post({"resource": "conversation_parts"}).json()["rows"] == 99
            secrets.versions[version] = b'{"client_id": "sample-client"}'
            response = function.post({"resource": "teams"})
            error = response.json()["error"]
            assert (response.status_code, error["type"]) == (500, "settings")
            assert "asks dlt for client_secret, which has no value. Set CLIENT_SECRET" in error["message"]
            assert "hush-hush" not in function.log


def test_wrong_settings_are_named_all_at_once_and_nothing_is_called(tmp_path: Path) -> None:
    with SampleApi(World(COUNTS)) as api:
        wrong = {
            "API_KEY_SECRET": "api-key",
            "DESTINATION": "postgres",
            "BUCKET_URL": "s3://bucket",
            "DATASET_NAME": "my data",
            "TIMEOUT_SECONDS": "soon",
            "TASKS_QUEUE": "projects/p/locations/l/queues/q",
            "LOG_LEVEL": "LOUD",
        }
        with Function({"HOME": str(tmp_path), "BASE_URL": api.url, **wrong}, tmp_path / "log.txt") as function:
            for response in (function.post({"resource": "teams"}), function.get()):
                error = response.json()["error"]
                assert (response.status_code, error["type"]) == (500, "settings")
                assert all(name in error["message"] for name in (*wrong, "TASKS_SERVICE_ACCOUNT", "FUNCTION_URL"))
        assert api.requests == []


def test_without_a_key_only_a_run_is_refused(tmp_path: Path) -> None:
    settings = {"HOME": str(tmp_path), "BUCKET_URL": str(tmp_path / "data")}
    with Function(settings, tmp_path / "log.txt") as function:
        assert function.get().json()["resources"]["teams"] == {
            **dict.fromkeys(("place", "pass_started_at", "pass_rows", "verified", "checks", "completed_at")),
            "status": "never",
        }
        response = function.post({"resource": "teams"})
        assert (response.status_code, response.json()["error"]["type"]) == (500, "settings")
        assert "API_KEY" in response.json()["error"]["message"]
        assert function.post({"resource": "nothing"}).status_code == 400
