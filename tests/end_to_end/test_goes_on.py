"""A paused pass goes on where it stopped, whatever kind of resource it is; driven by a clock, so nobody waits."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dlt.sources.rest_api import RESTAPIConfig

from loader.destination.bucket import Bucket
from loader.destination.bucket_dlt import DeltaClient
from loader.errors import ApiError, SettingsError
from loader.place import STATE_KEY
from tests.clock import EPOCH, DrivenClock
from tests.end_to_end.support import Loading, difference, read_again, rows_of, sample_config
from tests.end_to_end.support.loading import offset_paged
from tests.end_to_end.support.tables import EXACT, compared
from tests.sample_api import Behaviour, Failure, SampleApi, World

WAIT = Failure(429, retry_after=6_000)
"""Longer than any run has: it pauses."""

Pauses = tuple[int, ...]
"""Numbers of the requests at which a run is paused."""


@pytest.fixture
def world() -> World:
    return World({"contacts": 1_500, "conversations": 60})


@pytest.fixture
def loading(api: SampleApi, tmp_path: Path) -> Loading:
    return Loading(tmp_path / "bucket", lambda: sample_config(api), DrivenClock())


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "loader")
    return caplog


def pausing(*requests: int) -> Behaviour:
    return Behaviour(failures=dict.fromkeys(requests, WAIT))


def test_a_wait_that_does_not_fit_pauses_and_the_next_run_goes_on(
    loading: Loading, world: World, api: SampleApi
) -> None:
    world.behave(pausing(4, 9))
    first, second, third = loading.until_complete()
    assert [report.status for report in (first, second, third)] == ["paused", "paused", "complete"]
    assert first.wake_at == EPOCH + 1 + 6_000
    assert "429" in str(first.reason)
    assert first.answer()["pass"]["verified"] is None
    assert first.rows + second.rows + third.rows == 1_500
    assert set(read_again(api)) <= {0}
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize("failure", [Failure(500), Failure(404), Failure("reset"), Failure("html"), Failure("no_data")])
def test_a_page_that_fails_for_good_ends_the_run_and_not_the_work(
    loading: Loading, world: World, failure: Failure
) -> None:
    world.behave(Behaviour(fail_from=(4, failure)))
    with pytest.raises(ApiError):
        loading.run()
    report = loading.reports[-1]
    assert (report.status, report.chunks, report.pages) == ("failed", 1, 3)
    assert report.place
    assert len(rows_of(loading.bucket)) == report.rows > 200
    world.recover()
    assert loading.run().status == "complete"
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_a_pass_whose_first_page_has_to_wait_is_the_one_that_goes_on(loading: Loading, world: World) -> None:
    world.behave(pausing(1))
    first = loading.run()
    assert (first.status, first.rows, first.chunks) == ("paused", 0, 0)
    assert "not one page fitted" in str(first.reason)
    started_at = first.answer()["pass"]["started_at"]
    assert first.next_request() == {"resource": "contacts", "pass": started_at}
    second = loading.run(pass_started_at=started_at)
    assert (second.status, second.answer()["pass"]["started_at"]) == ("complete", started_at)


def limit(api: SampleApi) -> RESTAPIConfig:
    return sample_config(api, [offset_paged(limit=70)])


def path(api: SampleApi) -> RESTAPIConfig:
    config = sample_config(api, [offset_paged()])
    config["resources"][0]["endpoint"]["path"] = "v1/contacts"  # type: ignore[index]
    return config


def primary_key(api: SampleApi) -> RESTAPIConfig:
    return sample_config(api, [offset_paged(primary_key=["id", "email"])])


@pytest.mark.parametrize("changed", [limit, path, primary_key], ids=["limit", "path", "primary key"])
def test_a_configuration_that_changes_in_the_middle_begins_a_new_pass_and_says_so(
    loading: Loading,
    world: World,
    api: SampleApi,
    log: pytest.LogCaptureFixture,
    changed: Callable[[SampleApi], RESTAPIConfig],
) -> None:
    world.behave(pausing(4))
    first = loading.run()
    loading.config = lambda: changed(api)
    asked = len(api.offsets("contacts"))
    second = loading.run()
    assert second.status == "complete"
    assert second.answer()["pass"]["started_at"] != first.answer()["pass"]["started_at"]
    assert second.answer()["pass"]["rows"] == 1_500
    assert api.offsets("contacts")[asked] == 0
    assert "its configuration has changed" in log.text
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_a_place_of_another_version_of_the_program_begins_a_new_pass_and_says_so(
    loading: Loading, world: World, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.behave(pausing(4))
    loading.run()
    monkeypatch.setattr("loader.place.FORMAT", 2)
    assert loading.run().answer()["pass"]["rows"] == 1_500
    assert "another version" in log.text
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_restart_forgets_the_place_and_the_cursor(loading: Loading, world: World, api: SampleApi) -> None:
    loading.config = lambda: incremental(api)
    world.behave(pausing(4))
    first = loading.run()
    second = loading.run(restart=True)
    assert second.answer()["pass"]["started_at"] != first.answer()["pass"]["started_at"]
    assert (second.status, second.answer()["pass"]["rows"]) == ("complete", 1_500)
    third = loading.run(restart=True)
    assert (third.status, third.answer()["pass"]["rows"]) == ("complete", 1_500)


def test_a_restart_that_has_to_wait_is_not_forgotten(loading: Loading, world: World) -> None:
    loading.run()
    world.behave(pausing(len(loading.reports) and world_requests(world) + 1))
    waiting = loading.run(restart=True)
    assert waiting.status == "paused"
    again = loading.run(pass_started_at=waiting.next_request()["pass"])
    assert (again.status, again.answer()["pass"]["rows"]) == ("complete", 1_500)


def world_requests(world: World) -> int:
    return world._tables["contacts"].requests  # noqa: SLF001 - failures are numbered by it


def test_only_the_pass_that_is_named_goes_on(loading: Loading, world: World, api: SampleApi) -> None:
    world.behave(pausing(4))
    started_at = loading.run().answer()["pass"]["started_at"]
    asked = len(api.requests)
    for other in ("2020-01-01T00:00:00.000+00:00", "nonsense", "2999-01-01T00:00:00.000+00:00"):
        report = loading.run(pass_started_at=other)
        assert (report.status, report.pass_is_over) == ("skipped", True)
    assert len(api.requests) == asked
    assert loading.run(pass_started_at=started_at).status == "complete"
    assert loading.run(pass_started_at=started_at).status == "skipped"


def test_replace_holds_the_old_rows_whole_until_the_new_ones_are_whole(
    loading: Loading, world: World, api: SampleApi, log: pytest.LogCaptureFixture
) -> None:
    loading.config = lambda: sample_config(api, [offset_paged(write_disposition="replace")])
    assert loading.run().status == "complete"
    assert "a new pass, in this one run, because" in log.text
    old = world.snapshot("contacts")
    for key in range(1, 1_000):
        world.delete("contacts", key)
    world.behave(pausing(world_requests(world) + 4))
    with pytest.raises(SettingsError, match=r"must be read in one run.*Nothing was loaded.*TIMEOUT_SECONDS"):
        loading.run()
    assert difference(loading.bucket, old) == EXACT
    world.behave(Behaviour(fail_from=(world_requests(world) + 3, Failure(500))))
    with pytest.raises(ApiError):
        loading.run()
    assert difference(loading.bucket, old) == EXACT
    world.recover()
    assert loading.run().status == "complete"
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_append_repeats_one_chunk_where_a_run_dies_between_its_rows_and_its_place(
    loading: Loading, world: World, api: SampleApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading.config = lambda: sample_config(api, [offset_paged(write_disposition="append")])
    monkeypatch.setattr(Bucket, "chunk_bytes", 300_000)
    commit = DeltaClient.complete_load
    committed: list[str] = []

    def die(client: DeltaClient, load_id: str) -> None:
        committed.append(load_id)
        if len(committed) == 2:
            raise SystemExit
        commit(client, load_id)

    monkeypatch.setattr(DeltaClient, "complete_load", die)
    with pytest.raises(SystemExit):
        loading.run()
    loading.until_complete()
    rows = rows_of(loading.bucket)
    doubled = sorted(row["id"] for row in rows if row["_dlt_load_id"] == committed[1])
    assert 0 < len(doubled) < 1_000
    assert compared(rows, world.snapshot("contacts")) == replace(EXACT, doubled=doubled)


def incremental(api: SampleApi, **more: Any) -> RESTAPIConfig:
    cursor = {"type": "incremental", "cursor_path": "updated_at", "initial_value": "2020-01-01T00:00:00Z", **more}
    return sample_config(api, [offset_paged(params={"updated_since": cursor})])


def asked_since(api: SampleApi) -> list[str]:
    """Give what was asked for since when, in order, without repetitions."""
    return list(dict.fromkeys(request.query["updated_since"] for request in api.requests))


@pytest.mark.parametrize("pauses", [(), (4,), (4, 8, 9)], ids=["in one run", "in two runs", "in four runs"])
def test_unsorted_rows_of_an_incremental_pass_over_several_runs_are_not_lost(
    loading: Loading, world: World, api: SampleApi, pauses: Pauses
) -> None:
    loading.config = lambda: incremental(api)
    world.behave(pausing(*pauses))
    reports = loading.until_complete()
    assert len(reports) == len(pauses) + 1
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT
    assert asked_since(api) == ["2020-01-01T00:00:00Z"]

    # the next pass begins where the rows of this one end
    highest = max(row["updated_at"] for row in world.snapshot("contacts"))
    for key in (7, 700, 1_400):
        world.touch("contacts", key)
    world.behave(Behaviour())
    assert loading.run().rows == 3
    assert asked_since(api)[1:] == [highest]
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize("pauses", [(), (4, 8)], ids=["in one run", "in three runs"])
def test_the_lag_of_a_cursor_survives_pauses(loading: Loading, world: World, api: SampleApi, pauses: Pauses) -> None:
    loading.config = lambda: incremental(api, lag=3_600)
    world.behave(pausing(*pauses))
    loading.until_complete()
    world.behave(Behaviour())
    loading.until_complete()
    loading.until_complete()
    highest = max(row["updated_at"] for row in world.snapshot("contacts"))
    first, *others = asked_since(api)
    assert first.startswith("2020-01-01")
    # an hour before the highest value, in each later pass, however often the same rows are seen
    assert len(others) == 1
    assert others[0] < highest
    assert others[0][:10] in (highest[:10], highest[:8] + f"{int(highest[8:10]) - 1:02}")
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT


def test_an_order_of_rows_that_ends_the_reading_early_counts_as_complete(
    loading: Loading, world: World, api: SampleApi
) -> None:
    rows = world.snapshot("contacts")
    resource = offset_paged()
    resource["endpoint"]["incremental"] = {
        "start_param": "updated_since",
        "cursor_path": "created_at",
        "initial_value": "2020-01-01T00:00:00Z",
        "end_value": rows[450]["created_at"],
        "row_order": "asc",
    }
    loading.config = lambda: sample_config(api, [resource])
    assert loading.run().status == "complete"
    assert len(api.requests) < 8
    assert {row["id"] for row in rows_of(loading.bucket)} == {row["id"] for row in rows[:450]}


def test_the_key_of_a_parent_is_not_in_what_is_said_of_its_path(tmp_path: Path) -> None:
    parents = offset_paged("conversations")
    parts = {"path": "v1/conversations/{resources.conversations.id}/parts", "data_selector": "data"}
    world = World({"conversations": 3}, overrides={"parts": Behaviour(fail_from=(2, Failure(404)))})
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api, [parents, {"name": "parts", "endpoint": parts}]))
        with pytest.raises(ApiError, match=r"404 .* to GET /v1/conversations/\{resources.conversations.id\}/parts\."):
            loading.run("parts")


def test_a_dependent_resource_is_read_in_one_run_and_says_so(
    loading: Loading, world: World, api: SampleApi, log: pytest.LogCaptureFixture
) -> None:
    parts = {
        "name": "parts",
        "endpoint": {"path": "/v1/conversations/{resources.conversations.id}/parts", "data_selector": "data"},
    }
    loading.config = lambda: sample_config(api, [offset_paged("conversations", limit=20), parts])
    world.behave(Behaviour(failures={30: WAIT}), "parts")
    with pytest.raises(SettingsError, match="it depends on another resource"):
        loading.run("parts")
    assert rows_of(loading.bucket, "parts") == []
    assert "parts: a run begins: a new pass, in this one run, because" in log.text
    world.recover()
    assert loading.run("parts").status == "complete"
    assert len(rows_of(loading.bucket, "parts")) == loading.reports[-1].rows > 30


def test_the_state_holds_a_format_a_fingerprint_and_no_key(loading: Loading, world: World) -> None:
    world.behave(pausing(4))
    loading.run()
    (state,) = (loading.bucket / "analytics" / "_dlt_pipeline_state").glob("*.jsonl")
    assert json.loads(state.read_text())["pipeline_name"] == "analytics_contacts"
    assert STATE_KEY == "loader"


class DrivingApi(SampleApi):
    """Its latency passes on a driven clock: nobody waits."""

    clock: DrivenClock

    def wait(self, seconds: float | None) -> None:
        self.clock.advance(seconds or 0.0)


@pytest.mark.long
def test_at_540_seconds_at_least_85_percent_is_spent_reading_and_few_commits_are_made(tmp_path: Path) -> None:
    world = World({"contacts": 30_000}, Behaviour(latency=2.0))
    api = DrivingApi(world)
    api.clock = DrivenClock()
    with api:
        loading = Loading(tmp_path / "bucket", lambda: sample_config(api), api.clock)
        reports = loading.until_complete()
    assert len(reports) >= 2
    for report in reports[:-1]:
        assert report.pages * 2.0 >= 0.85 * 540
        assert report.seconds < 540
        # a chunk is read for 300 s at most
        assert report.chunks <= 3
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


def test_a_chunk_ends_at_its_bound_of_bytes_so_that_memory_is_bounded(
    loading: Loading, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.destination.bucket.Bucket.chunk_bytes", 150_000)
    report = loading.run()
    # about 52 kB a page: three pages a chunk
    assert report.chunks >= 5
    assert difference(loading.bucket, world.snapshot("contacts")) == EXACT
