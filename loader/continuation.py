"""A paused run continues itself: it makes a Cloud Tasks task that calls this function again."""

import hashlib
import importlib
import json
import math
import os
import re
import threading
from datetime import UTC, datetime

from loader.deadline import Deadline, in_time
from loader.log import logger
from loader.report import Report
from loader.settings import Settings

MAX_STALLS = 5
"""So many continuations in a row may bring nothing; then only the schedule goes on."""

DISPATCH_SECONDS = (15, 1800)
"""What Cloud Tasks allows as a deadline for the answer to a task."""

SECONDS_TO_CONTINUE = 5.0
"""Kept back from a run for making its task, ..."""

SHARE_TO_CONTINUE = 0.1
"""... or this share of its time, if that is less."""

_STALLS = re.compile(r"-s(\d+)$")


class NotInTimeError(Exception):
    """Cloud Tasks did not answer in time."""


def prepare(settings: Settings) -> None:
    """Load the client of Cloud Tasks beside the run: that takes seconds, which the end of a run does not have."""
    if settings.tasks_queue:
        threading.Thread(
            target=importlib.import_module, args=("google.cloud.tasks_v2",), name="loader-tasks", daemon=True
        ).start()


def seconds_needed(settings: Settings, deadline: Deadline) -> float:
    """Give the seconds to keep back for making a task."""
    return min(SECONDS_TO_CONTINUE, SHARE_TO_CONTINUE * deadline.left()) if settings.tasks_queue else 0.0


def enqueue(settings: Settings, source: str, report: Report, deadline: Deadline, task_name: str | None) -> bool:
    """Make the task that goes on with a paused pass; tell whether it was made.

    That it could not be made fails nothing: the log says why, and the schedule goes on.

    Args:
        settings: with the queue, the account and this function's address; without a queue nothing is made.
        source: name of the source.
        report: of the paused run.
        deadline: until when Cloud Tasks is waited for.
        task_name: the task that this run came from, if one; its name counts the stalls.
    """
    if not settings.tasks_queue:
        return False
    stalls = 0 if report.has_progressed else stalls_of(task_name) + 1
    if stalls > MAX_STALLS:
        logger.warning(
            "%s: %d continuations in a row brought nothing, so there is no further one; the schedule goes on.",
            report.resource,
            MAX_STALLS,
        )
        return False
    try:
        in_time(
            lambda: _create(settings, name_of(source, report, stalls), report, deadline),
            deadline,
            late=lambda _: NotInTimeError("no answer before the deadline"),
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the schedule goes on
        logger.warning(
            "%s: the task that continues this pass could not be made: %s: %s. The schedule goes on. "
            "Look at TASKS_QUEUE, and at this function's roles/cloudtasks.enqueuer on it.",
            report.resource,
            type(error).__name__,
            error,
        )
        return False
    return True


def name_of(source: str, report: Report, stalls: int) -> str:
    """Give the last part of the task's name: a second task for the same moment of a pass has the same one."""
    parts = [source, report.resource, report.current_pass, report.place, report.lease]
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
    return f"{digest}-s{stalls}"


def stalls_of(task_name: str | None) -> int:
    """Give how many continuations in a row had brought nothing when this task was made."""
    counted = _STALLS.search(task_name or "")
    return int(counted[1]) if counted else 0


def _create(settings: Settings, name: str, report: Report, deadline: Deadline) -> None:
    # heavy, so only where a task is made
    from google.api_core.exceptions import Conflict  # noqa: PLC0415
    from google.cloud import tasks_v2  # noqa: PLC0415
    from google.protobuf import duration_pb2, timestamp_pb2  # noqa: PLC0415

    emulator = os.environ.get("CLOUD_TASKS_EMULATOR_HOST")
    client = tasks_v2.CloudTasksClient(
        transport="rest", client_options={"api_endpoint": emulator} if emulator else None
    )
    least, most = DISPATCH_SECONDS
    task = tasks_v2.Task(
        name=f"{settings.tasks_queue}/tasks/{name}",
        dispatch_deadline=duration_pb2.Duration(seconds=min(max(math.ceil(settings.timeout_seconds), least), most)),
        http_request=tasks_v2.HttpRequest(
            url=settings.function_url,
            http_method=tasks_v2.HttpMethod.POST,
            headers={"Content-Type": "application/json"},
            body=json.dumps(report.next_request()).encode(),
            oidc_token=tasks_v2.OidcToken(
                service_account_email=settings.tasks_service_account, audience=settings.function_url
            ),
        ),
    )
    if report.wake_at is not None:
        wake_at = timestamp_pb2.Timestamp()
        wake_at.FromDatetime(datetime.fromtimestamp(math.ceil(report.wake_at), UTC))
        task.schedule_time = wake_at
    try:
        client.create_task(parent=settings.tasks_queue, task=task, timeout=deadline.left())
    except Conflict:
        logger.info("%s: the task that continues this pass was there already.", report.resource)
