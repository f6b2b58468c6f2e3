"""Google's own clients talk to the fakes as to the real services."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fakes import FakeCloudTasks, FakeMetadata, FakeSecretManager, google_environment
from tests.sample_api import Behaviour, SampleApi, World

QUEUE = "projects/p/locations/europe-west1/queues/loads"
SECRET = "projects/p/secrets/api-key/versions"

READ_SECRETS = """
import os, sys
from google.cloud.secretmanager import SecretManagerServiceClient
client = SecretManagerServiceClient(
    transport="rest", client_options={"api_endpoint": os.environ["SECRET_MANAGER_EMULATOR_HOST"]})
def read(name):
    try:
        return client.access_secret_version(name=name, timeout=2, retry=None).payload.data.decode()
    except Exception as error:
        return type(error).__name__
"""

MAKE_TASKS = """
import os, sys
from datetime import datetime, timedelta, UTC
from google.cloud import tasks_v2
client = tasks_v2.CloudTasksClient(
    transport="rest", client_options={"api_endpoint": os.environ["CLOUD_TASKS_EMULATOR_HOST"]})
queue = sys.argv[1]
def create(name, seconds=1800):
    task = tasks_v2.Task(
        name=f"{queue}/tasks/{name}" if name else "",
        http_request=tasks_v2.HttpRequest(
            url="https://function.example.com/",
            headers={"Content-Type": "application/json"},
            body=b'{"resource": "contacts"}',
            oidc_token=tasks_v2.OidcToken(service_account_email="a@example.com", audience="https://audience"),
        ),
        schedule_time=datetime(2030, 1, 1, tzinfo=UTC),
        dispatch_deadline=timedelta(seconds=seconds),
    )
    try:
        return client.create_task(parent=queue, task=task).name
    except Exception as error:
        return type(error).__name__
"""

READ_IDENTITY = """
import sys
from google.auth.transport.requests import Request
from google.oauth2.id_token import fetch_id_token
def identity(audience):
    return fetch_id_token(Request(), audience)
def project():
    import google.auth
    return google.auth.default()[1]
"""


@pytest.fixture(scope="module")
def metadata() -> Iterator[FakeMetadata]:
    with FakeMetadata() as server:
        yield server


def run(environment: dict[str, str], program: str, expression: str) -> Any:
    """Evaluate an expression after a program, in a process of its own."""
    command = [sys.executable, "-c", f"import json\n{program}\nprint(json.dumps({expression}))", QUEUE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_secret_manager_gives_payloads_and_the_errors_of_the_real_one(tmp_path: Path, metadata: FakeMetadata) -> None:
    versions: dict[str, Any] = {
        f"{SECRET}/1": b"key\n",
        f"{SECRET}/2": "denied",
        f"{SECRET}/3": "disabled",
        f"{SECRET}/5": "hang",
    }
    with FakeSecretManager(versions) as secrets:
        environment = google_environment(tmp_path, metadata, secret_manager=secrets)
        names = [f"{SECRET}/{version}" for version in range(1, 6)]
        found = run(environment, READ_SECRETS, f"[read(name) for name in {names}]")
        assert found[:4] == ["key\n", "Forbidden", "BadRequest", "NotFound"]
        assert found[4] in {"RetryError", "ReadTimeout", "Timeout", "DeadlineExceeded", "GatewayTimeout"}
        assert [request.resource for request in secrets.requests] == names
        assert secrets.requests[0].headers["authorization"] == f"Bearer {metadata.access_token}"
        assert [request.status for request in secrets.requests] == [200, 403, 400, 404, None]


def test_a_name_of_a_task_is_used_once_even_after_its_delivery(tmp_path: Path, metadata: FakeMetadata) -> None:
    with FakeCloudTasks() as queue, SampleApi(World({}, Behaviour(auth="none"))) as function:
        environment = google_environment(tmp_path, metadata, cloud_tasks=queue)
        created = run(environment, MAKE_TASKS, "[create('one'), create('one'), create('')]")
        assert created[:2] == [f"{QUEUE}/tasks/one", "Conflict"]
        assert created[2].startswith(f"{QUEUE}/tasks/")
        task = queue.tasks[0]
        assert (task.id, task.method, task.json) == ("one", "POST", {"resource": "contacts"})
        assert (task.service_account, task.audience) == ("a@example.com", "https://audience")
        assert task.schedule_time is not None
        assert (task.schedule_time.year, task.dispatch_deadline) == (2030, 1800)

        assert queue.deliver(f"{function.url}/nothing", task).status == 404
        assert task in queue.tasks
        function.world.behave(Behaviour(auth="none", style="body_cursor"))
        delivery = queue.deliver(f"{function.url}/v1/contacts/search", task)
        assert (delivery.status, delivery.json["data"]) == (200, [])
        assert task not in queue.tasks
        received = function.requests[-1]
        assert (received.body, received.headers["x-cloudtasks-taskname"]) == (task.body, "one")
        assert received.headers["x-cloudtasks-taskretrycount"] == "1"

        deleted = "client.delete_task(name=queue + '/tasks/two')"
        again = run(environment, MAKE_TASKS, f"[create('one'), create('two'), {deleted}, create('two')]")
        assert again == ["Conflict", f"{QUEUE}/tasks/two", None, "Conflict"]


def test_cloud_tasks_refuses_what_the_real_one_refuses(tmp_path: Path, metadata: FakeMetadata) -> None:
    with FakeCloudTasks() as queue:
        environment = google_environment(tmp_path, metadata, cloud_tasks=queue)
        calls = "[create('a b'), create('x' * 501), create('a', 1801), create('a', 14)]"
        assert run(environment, MAKE_TASKS, calls) == ["BadRequest"] * 4
        queue.fail_with(503)
        assert run(environment, MAKE_TASKS, "create('a')") == "ServiceUnavailable"
        queue.fail_with(None)
        assert run(environment, MAKE_TASKS, "create('a')") == f"{QUEUE}/tasks/a"


def test_the_metadata_server_gives_project_and_identity(tmp_path: Path, metadata: FakeMetadata) -> None:
    environment = google_environment(tmp_path, metadata)
    expression = "[identity('https://f.example.com'), project()]"
    token, project = run(environment, READ_IDENTITY, expression)
    assert token.split(".")[0] == metadata.identity_token("https://f.example.com").split(".")[0]
    assert project == metadata.project


def test_without_credentials_the_services_refuse() -> None:
    with FakeSecretManager() as secrets, FakeCloudTasks() as queue:
        for server in (secrets, queue):
            assert requests.post(f"{server.url}/v2/{QUEUE}/tasks", json={}, timeout=5).status_code == 401
