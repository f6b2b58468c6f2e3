"""Cloud Tasks, as far as HTTP tasks go: made, deleted, and delivered when a test says so."""

import base64
import json
import re
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from tests.fakes.google_error import google_error, unauthenticated
from tests.local_server import Answer, LocalServer, Request, json_answer

QUEUE = r"projects/[^/]+/locations/[^/]+/queues/[^/]+"
TASKS = re.compile(rf"/v2/({QUEUE})/tasks(?:/([^/]+))?")
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
METHODS = {0: "POST", 1: "POST", 2: "GET", 3: "HEAD", 4: "PUT", 5: "DELETE", 6: "PATCH"}
DEADLINE_SECONDS = range(15, 1801)


@dataclass(frozen=True, slots=True)
class Task:
    """A task that waits for its delivery."""

    name: str
    """Full name, `projects/.../queues/.../tasks/ID`."""
    url: str
    method: str
    headers: dict[str, str]
    body: bytes
    schedule_time: datetime | None
    """Moment before which it is not to be delivered; None: at once."""
    dispatch_deadline: float
    """Seconds that an attempt may take."""
    service_account: str | None
    """Account of its OIDC token; None: it carries none."""
    audience: str | None
    """Audience of its OIDC token."""

    @property
    def id(self) -> str:
        """Last part of the name."""
        return self.name.rpartition("/")[2]

    @property
    def json(self) -> Any:
        """Body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the function answered to a task."""

    status: int
    headers: dict[str, str]
    """Headers by name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """Body, read as JSON."""
        return json.loads(self.body)


class FakeCloudTasks(LocalServer):
    """Keeps the tasks made in any queue; `requests` names the queue as `resource`."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self._tasks: dict[str, Task] = {}
        self._names_used: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._failure: int | None = None

    @property
    def tasks(self) -> list[Task]:
        """Tasks that wait, the oldest first."""
        with self._lock:
            return list(self._tasks.values())

    def fail_with(self, status: int | None) -> None:
        """Answer everything with this status code from now on; None: work again."""
        self._failure = status

    def deliver(self, url: str, task: Task) -> Delivery:
        """Send a task to the function at `url`, whatever the task's own; a 2xx answer ends the task."""
        with self._lock:
            retries = self._attempts.get(task.name, 0)
            self._attempts[task.name] = retries + 1
        headers = {
            "User-Agent": "Google-Cloud-Tasks",
            **task.headers,
            "X-CloudTasks-QueueName": task.name.split("/")[-3],
            "X-CloudTasks-TaskName": task.id,
            "X-CloudTasks-TaskRetryCount": str(retries),
            "X-CloudTasks-TaskExecutionCount": str(retries),
        }
        delivery = _send(url, task, headers)
        if 200 <= delivery.status < 300:
            with self._lock:
                self._tasks.pop(task.name, None)
        return delivery

    def resource_of(self, path: str) -> str:
        """Name the queue."""
        match = TASKS.fullmatch(path)
        return match[1] if match else ""

    def answer(self, request: Request) -> Answer:
        """Create or delete a task."""
        if refusal := unauthenticated(request):
            return refusal
        if self._failure is not None:
            return google_error(self._failure, "Told to fail.")
        match = TASKS.fullmatch(request.path)
        if match and request.method == "POST" and not match[2]:
            return self._create(f"{match[1]}/tasks", json.loads(request.body)["task"])
        if match and request.method == "DELETE" and match[2]:
            return self._delete(f"{match[1]}/tasks/{match[2]}")
        return google_error(404, f"Unknown: {request.method} {request.path}")

    def _create(self, parent: str, described: dict[str, Any]) -> Answer:
        described.setdefault("name", f"{parent}/{uuid4().hex}")
        try:
            task = _task(described, parent)
        except ValueError as error:
            return google_error(400, str(error))
        with self._lock:
            if task.name in self._names_used:
                return google_error(409, "Requested entity already exists")
            self._names_used.add(task.name)
            self._tasks[task.name] = task
        return json_answer(described)

    def _delete(self, name: str) -> Answer:
        with self._lock:
            task = self._tasks.pop(name, None)
        return json_answer({}) if task else google_error(404, "Requested entity was not found.")


def _task(described: dict[str, Any], parent: str) -> Task:
    """Read a task.

    Raises:
        ValueError: the real service would refuse it.
    """
    request = described["httpRequest"]
    oidc = request.get("oidcToken", {})
    schedule_time = described.get("scheduleTime")
    task = Task(
        name=described["name"],
        url=request["url"],
        method=METHODS[request.get("httpMethod", 1)],
        headers=request.get("headers", {}),
        body=base64.b64decode(request.get("body", "")),
        schedule_time=datetime.fromisoformat(schedule_time) if schedule_time else None,
        dispatch_deadline=float(described.get("dispatchDeadline", "600s").removesuffix("s")),
        service_account=oidc.get("serviceAccountEmail"),
        audience=oidc.get("audience"),
    )
    if task.name != f"{parent}/{task.id}" or not TASK_ID.fullmatch(task.id):
        raise ValueError(f"Not a name of a task in {parent.removesuffix('/tasks')}: {task.name}")
    if not DEADLINE_SECONDS[0] <= task.dispatch_deadline <= DEADLINE_SECONDS[-1]:
        raise ValueError(f"dispatchDeadline must be 15 s to 30 min: {task.dispatch_deadline} s")
    if not task.url.startswith(("http://", "https://")):
        raise ValueError(f"Not an HTTP address: {task.url}")
    return task


def _send(url: str, task: Task, headers: dict[str, str]) -> Delivery:
    address = urlsplit(url)
    connection = HTTPConnection(address.netloc, timeout=task.dispatch_deadline)
    try:
        connection.request(task.method, address.path or "/", task.body, headers)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Delivery(response.status, received, response.read())
    finally:
        connection.close()
