"""A paused run continues itself through Cloud Tasks: Google's own client, and a chain that ends by itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.support import Function, difference, serving
from tests.end_to_end.support.function import own_config
from tests.end_to_end.support.tables import EXACT
from tests.fakes import Delivery, FakeCloudTasks, FakeMetadata, google_environment
from tests.sample_api import Behaviour, Failure, SampleApi, World

QUEUE = "projects/p/locations/europe-west1/queues/loads"
WAIT = Failure(429, retry_after=3_600)
FUNCTION_URL = "https://function.example.com/"


@dataclass
class Chain:
    """A function, and the queue through which it continues itself."""

    world: World
    api: SampleApi
    queue: FakeCloudTasks
    function: Function
    bucket: Path

    def deliver(self) -> Delivery:
        """Deliver the oldest task."""
        return self.queue.deliver(self.function.url, self.queue.tasks[0])

    def run_out(self, at_most: int = 20) -> list[Delivery]:
        """Deliver until there is no task left."""
        deliveries: list[Delivery] = []
        while self.queue.tasks:
            assert len(deliveries) < at_most
            deliveries.append(self.deliver())
        return deliveries

    def is_exact(self) -> bool:
        return difference(self.bucket, self.world.snapshot("contacts")) == EXACT


@contextmanager
def chained(tmp_path: Path, world: World, config: str | None = None, **settings: Any) -> Iterator[Chain]:
    with SampleApi(world) as api, FakeMetadata() as metadata, FakeCloudTasks() as queue:
        environment = google_environment(tmp_path / "google", metadata, cloud_tasks=queue)
        settings = {
            "TASKS_QUEUE": QUEUE,
            "TASKS_SERVICE_ACCOUNT": metadata.email,
            "FUNCTION_URL": FUNCTION_URL,
            "TIMEOUT_SECONDS": 30,
            **settings,
        }
        with serving(api, tmp_path, config=config, environment=environment, **settings) as function:
            yield Chain(world, api, queue, function, tmp_path / "bucket")


def waiting_at(*requests: int) -> Behaviour:
    return Behaviour(failures=dict.fromkeys(requests, WAIT))


def test_a_chain_of_tasks_ends_by_itself_and_late_or_twice_delivered_tasks_do_nothing(tmp_path: Path) -> None:
    world = World({"contacts": 900}, waiting_at(4, 8))
    with chained(tmp_path, world) as chain:
        before = time.time()
        first = chain.function.load()
        assert (first.code, first["status"], first["continued"]) == (200, "paused", True)
        (task,) = chain.queue.tasks
        assert task.json == {"resource": "contacts", "pass": first["pass"]["started_at"]}
        assert (task.url, task.audience, task.method) == (FUNCTION_URL, FUNCTION_URL, "POST")
        assert task.service_account
        assert task.dispatch_deadline == 30
        # it wakes when the API said it may be asked again
        assert task.schedule_time
        assert 3_600 <= task.schedule_time.timestamp() - before < 3_600 + 15

        deliveries = chain.run_out()
        assert [(each.status, each.json["status"]) for each in deliveries] == [(200, "paused"), (200, "complete")]
        assert chain.is_exact()
        asked = len(chain.api.requests)
        for _ in range(2):
            late = chain.queue.deliver(chain.function.url, task)
            assert (late.status, late.json["status"], late.json["continued"]) == (200, "skipped", False)
        assert len(chain.api.requests) == asked
        assert chain.queue.tasks == []


def test_a_run_that_is_out_of_time_still_has_the_time_to_make_its_task(tmp_path: Path) -> None:
    world = World({"contacts": 2_500}, Behaviour(latency=0.3))
    with chained(tmp_path, world, TIMEOUT_SECONDS=8) as chain:
        first = chain.function.load()
        assert (first["status"], first["continued"]) == ("paused", True), chain.function.log
        assert first.seconds < 8
        world.behave(Behaviour())
        assert [each.json["status"] for each in chain.run_out()] == ["complete"]
        assert chain.is_exact()


def test_a_delivery_that_meets_a_lease_is_tried_again_and_not_lost(tmp_path: Path) -> None:
    world = World({"contacts": 300}, waiting_at(2))
    with chained(tmp_path, world) as chain:
        chain.function.load()
        leases = chain.bucket / "_loader_leases" / "analytics" / "contacts"
        held = leases / "000000000002.json"
        held.write_text(f'{{"holder": "another", "expires_at": {time.time() + 60}}}')
        asked = len(chain.api.requests)
        busy = chain.deliver()
        assert (busy.status, busy.json["status"], busy.json["error"]["type"]) == (503, "skipped", "busy")
        assert len(chain.api.requests) == asked
        # what is not a task is answered 200
        skipped = chain.function.load()
        assert (skipped.code, skipped["status"]) == (200, "skipped")

        held.write_text('{"holder": "another", "expires_at": 0}')
        assert [each.json["status"] for each in chain.run_out()] == ["complete"]
        assert chain.is_exact()


def test_a_chain_that_brings_nothing_stops_after_five(tmp_path: Path) -> None:
    world = World({"contacts": 300}, Behaviour(fail_from=(2, WAIT)))
    with chained(tmp_path, world) as chain:
        assert chain.function.load()["chunks"] == 1
        deliveries = chain.run_out()
        assert [each.json["chunks"] for each in deliveries] == [0] * 6
        assert [each.json["continued"] for each in deliveries] == [True] * 5 + [False]
        assert "5 continuations in a row brought nothing" in chain.function.log
        # the schedule goes on
        world.recover()
        assert chain.function.load()["status"] == "complete"
        assert chain.is_exact()


def test_a_pass_that_has_to_wait_before_its_first_page_is_continued_too(tmp_path: Path) -> None:
    world = World({"contacts": 300}, waiting_at(1))
    with chained(tmp_path, world) as chain:
        first = chain.function.load()
        assert (first["status"], first["continued"], first["rows"]) == ("paused", True, 0)
        (task,) = chain.queue.tasks
        assert chain.function.status()["resources"]["contacts"]["status"] == "paused"
        (last,) = chain.run_out()
        assert (last.status, last.json["status"]) == (200, "complete")
        assert chain.queue.deliver(chain.function.url, task).json["status"] == "skipped"
        assert chain.is_exact()


def test_a_task_that_cannot_be_made_fails_nothing(tmp_path: Path) -> None:
    world = World({"contacts": 300}, waiting_at(2))
    with chained(tmp_path, world, TIMEOUT_SECONDS=8) as chain:
        chain.queue.fail_with(403)
        first = chain.function.load()
        assert (first.code, first["status"], first["continued"]) == (200, "paused", False)
        assert first.seconds < 8
        assert "roles/cloudtasks.enqueuer" in chain.function.log
        assert chain.function.load()["status"] == "complete"
        assert chain.is_exact()


@pytest.mark.long
def test_five_thousand_pages_at_a_thousand_a_day_take_five_windows(tmp_path: Path) -> None:
    config = own_config().replace('"limit": 100', '"limit": 10')
    # with the overlap of a row, nine new ones a page
    world = World({"contacts": 44_900}, Behaviour(daily_limit=1_000, daily_retry_after=86_400))
    with chained(tmp_path, world, config, TIMEOUT_SECONDS=540) as chain:
        now = time.time()
        answers, windows = [chain.function.load().body], 1
        while chain.queue.tasks:
            (task,) = chain.queue.tasks
            if task.schedule_time and task.schedule_time > datetime.fromtimestamp(now, UTC):
                # nobody calls before the window opens
                now = task.schedule_time.timestamp()
                world.next_window()
                windows += 1
            answers.append(chain.deliver().json)
        assert windows == 5
        assert [answer["status"] for answer in answers] == ["paused"] * (len(answers) - 1) + ["complete"]
        assert sum(1 for answer in answers if not answer["chunks"]) <= windows
        assert chain.is_exact()
        refused = [request for request in chain.api.requests if request.status == 429]
        assert len(refused) <= windows
        print(f"{len(chain.api.requests)} requests, {windows} windows, {len(answers)} runs, {len(refused)} refused")
