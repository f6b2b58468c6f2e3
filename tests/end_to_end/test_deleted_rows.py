"""Rows that are gone at the API are marked, once a pass is known to have seen everything, and behind a brake."""

import json
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from deltalake import DeltaTable
from dlt.sources.rest_api import RESTAPIConfig

from loader.chunks import Chunks
from loader.destination.fold import Pace
from loader.errors import SettingsError
from loader.report import Report
from tests.clock import DrivenClock
from tests.end_to_end.support.loading import Loading, offset_paged, sample_config
from tests.end_to_end.support.places import BigQueryLoading, BigQueryPlace, BucketPlace, Place
from tests.sample_api import Behaviour, Failure, SampleApi, World


@pytest.fixture
def world() -> World:
    return World({"contacts": 250})


@pytest.fixture(params=["folder", pytest.param("bigquery", marks=pytest.mark.long)])
def setup(request: pytest.FixtureRequest, api: SampleApi, tmp_path: Path) -> tuple[Loading, Place]:
    if request.param == "bigquery":
        place: BigQueryPlace = request.getfixturevalue("bigquery")
        loading = BigQueryLoading(tmp_path, lambda: sample_config(api), deleted_rows="mark", dataset=place.dataset)
        return loading, place
    return in_folder(api, tmp_path), BucketPlace(str(tmp_path))


def in_folder(api: SampleApi, folder: Path) -> Loading:
    return Loading(folder, lambda: sample_config(api), DrivenClock(), deleted_rows="mark")


def marks(place: Place) -> dict[int, datetime]:
    """Give the marked rows by key."""
    rows = place.rows("contacts", "id, _deleted_at")
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["_deleted_at"] for row in rows if row["_deleted_at"] is not None}


def counts(report: Report) -> tuple[int, int, int]:
    assert report.deleted is not None
    return report.deleted["marked"], report.deleted["returned"], report.deleted["held_back"]


def test_a_row_is_marked_when_it_is_gone_keeps_its_moment_and_is_unmarked_when_it_returns(
    setup: tuple[Loading, Place], world: World
) -> None:
    loading, place = setup
    assert counts(loading.run()) == (0, 0, 0)
    assert marks(place) == {}
    world.delete("contacts", 7)
    world.delete("contacts", 240)
    assert counts(loading.run()) == (2, 0, 0)
    first = marks(place)
    assert set(first) == {7, 240}
    world.delete("contacts", 100)
    world.touch("contacts", 3)
    assert counts(loading.run()) == (1, 0, 0)
    # a marked row keeps its moment
    assert {key: moment for key, moment in marks(place).items() if key != 100} == first
    restore(world, 7)
    # unchanged, and seen again
    assert counts(loading.run()) == (0, 1, 0)
    assert set(marks(place)) == {100, 240}
    assert counts(loading.run()) == (0, 0, 0)
    deleted = [json.loads(row["deleted"])["marked"] for row in place.rows("loader_passes", "completed_at, deleted")]
    assert sorted(deleted) == [0, 0, 0, 1, 2]


def restore(world: World, number: int) -> None:
    """Bring a deleted row back, as it was."""
    table = world._tables["contacts"]  # noqa: SLF001 - the API never does it by itself
    table.numbers.insert(number - 1, number)


def test_the_brake_holds_back_more_than_a_tenth_unless_the_request_accepts_it(
    setup: tuple[Loading, Place], world: World, caplog: pytest.LogCaptureFixture
) -> None:
    loading, place = setup
    loading.run()
    for number in range(1, 31):
        world.delete("contacts", number)
    assert counts(loading.run()) == (0, 0, 30)
    assert "30 of 250 rows are gone at the API" in caplog.text
    assert marks(place) == {}
    assert counts(loading.run(accept_deletes=True)) == (30, 0, 0)
    assert set(marks(place)) == set(range(1, 31))


def test_an_api_that_answers_a_third_of_its_rows_marks_nothing(api: SampleApi, world: World, tmp_path: Path) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.run()
    for number in range(81, 251):
        world.delete("contacts", number)
    assert counts(loading.run()) == (0, 0, 170)
    assert marks(place) == {}


def test_up_to_ten_rows_are_marked_however_few_there_are(api: SampleApi, world: World, tmp_path: Path) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    for number in range(13, 251):
        world.delete("contacts", number)
    loading.run()
    for number in range(1, 11):
        world.delete("contacts", number)
    assert counts(loading.run()) == (10, 0, 0)
    assert set(marks(place)) == set(range(1, 11))


def test_a_pass_that_is_not_verified_marks_nothing(api: SampleApi, world: World, tmp_path: Path) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.run()
    world.delete("contacts", 7)
    world.behave(Behaviour(total_error=5))
    report = loading.run()
    assert (report.status, counts(report)) == ("complete", (0, 0, 0))
    assert report.current_pass is not None
    assert report.current_pass["verified"] is False
    assert marks(place) == {}


def test_a_pass_that_fails_or_is_paused_marks_nothing_and_its_end_does(
    setup: tuple[Loading, Place], world: World
) -> None:
    loading, place = setup
    loading.run()
    world.delete("contacts", 7)
    world.behave(Behaviour(failures={world_requests(world) + 2: Failure(404)}))
    with pytest.raises(Exception, match="404"):
        loading.run()
    assert marks(place) == {}
    assert counts(loading.run()) == (1, 0, 0)
    assert set(marks(place)) == {7}


def world_requests(world: World) -> int:
    return world._tables["contacts"].requests  # noqa: SLF001


def test_a_run_that_dies_between_commit_and_marking_or_after_marking_is_made_good(
    setup: tuple[Loading, Place], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, place = setup
    loading.run()
    marked = Chunks._marked  # noqa: SLF001 - where it dies

    def die_before(*_: Any) -> int:
        raise SystemExit

    def die_after(chunks: Any, record: Any) -> int:
        marked(chunks, record)
        raise SystemExit

    for number, die in enumerate((die_before, die_after), 1):
        world.delete("contacts", number)
        with monkeypatch.context() as patch:
            patch.setattr(Chunks, "_marked", die)
            with pytest.raises(SystemExit):
                loading.run()
        assert (number in marks(place)) == (die is die_after)
        before = marks(place)
        assert counts(loading.run()) == (1, 0, 0)
        assert set(marks(place)) == set(range(1, number + 1))
        assert before.items() <= marks(place).items()


def test_only_files_with_marked_rows_are_written_again_and_only_by_a_pass_that_marks(
    api: SampleApi, world: World, tmp_path: Path
) -> None:
    loading = in_folder(api, tmp_path)
    loading.run()
    table = DeltaTable(str(tmp_path / "analytics" / "contacts"))
    version = table.version()
    loading.run()
    table.update_incremental()
    assert table.version() == version
    world.delete("contacts", 7)
    loading.run()
    table.update_incremental()
    assert table.version() == version + 1


def test_keep_leaves_no_column_and_no_file(api: SampleApi, world: World, tmp_path: Path) -> None:
    loading = in_folder(api, tmp_path)
    loading.deleted_rows = "keep"
    loading.run()
    world.delete("contacts", 7)
    assert loading.run().deleted is None
    row = BucketPlace(str(tmp_path)).rows("contacts")[0]
    assert "_deleted_at" not in row
    assert "deleted" not in BucketPlace(str(tmp_path)).rows("loader_passes")[0]
    assert not (tmp_path / "_loader_seen").exists()


def test_a_pass_that_began_before_marking_was_switched_on_marks_nothing(
    api: SampleApi, world: World, tmp_path: Path
) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.run()
    world.delete("contacts", 7)
    loading.deleted_rows = "keep"
    world.behave(Behaviour(failures={world_requests(world) + 2: Failure(404)}))
    with pytest.raises(Exception, match="404"):
        loading.run()
    loading.deleted_rows = "mark"
    assert counts(loading.run()) == (0, 0, 0)
    assert marks(place) == {}
    assert counts(loading.run()) == (1, 0, 0)


def test_a_pass_that_was_read_without_marking_for_a_while_marks_nothing(
    api: SampleApi, world: World, tmp_path: Path
) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.config = lambda: sample_config(api, [offset_paged(limit=8)])
    loading.run()
    world.delete("contacts", 7)
    begun = world_requests(world)
    world.behave(Behaviour(failures={begun + number: Failure(404) for number in (3, 5)}))
    # what the second of these runs reads, and finds unchanged, is noted nowhere
    for loading.deleted_rows in ("mark", "keep"):
        with pytest.raises(Exception, match="404"):
            loading.run()
    loading.deleted_rows = "mark"
    assert counts(loading.run()) == (0, 0, 0)
    assert counts(loading.run()) == (1, 0, 0)
    assert set(marks(place)) == {7}


@pytest.mark.parametrize("part", [{"maximum_offset": 240, "limit": 60}, {"offset": 8}], ids=str)
def test_a_paginator_that_is_told_to_leave_rows_out_marks_none(
    api: SampleApi, tmp_path: Path, part: dict[str, int]
) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.run()
    config: Any = sample_config(api)
    config["resources"][0]["endpoint"]["paginator"].update(part)
    loading.config = lambda: config
    report = loading.run()
    assert report.current_pass is not None
    # what it was to see, it saw
    assert (report.current_pass["verified"], counts(report)) == (True, (0, 0, 0))
    assert marks(place) == {}


def test_marks_that_do_not_fit_are_set_run_by_run_and_what_was_accepted_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.destination.fold.SLICE_BYTES", 20_000)
    world = World({"contacts": 1000})
    with SampleApi(world) as api:
        mark_run_by_run(in_folder(api, tmp_path), world, tmp_path, monkeypatch)


def mark_run_by_run(loading: Loading, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = BucketPlace(str(tmp_path))
    loading.run()
    assert len(DeltaTable(str(tmp_path / "analytics" / "contacts")).file_uris()) > 1
    for number in range(1, 1001, 2):
        world.delete("contacts", number)

    class OneOrNone(Pace):
        allowed = 0

        def fits(self) -> bool:
            return self.commits < self.allowed

    monkeypatch.setattr("loader.destination.bucket.Pace", OneOrNone)
    report = loading.run(accept_deletes=True)
    assert (report.status, marks(place)) == ("paused", {})
    # nothing is committed of it, so the task must say it again
    assert report.next_request()["accept_deletes"] is True
    monkeypatch.setattr(OneOrNone, "allowed", 1)
    report = loading.run(accept_deletes=True)
    assert (report.status, report.has_progressed) == ("paused", True)
    assert 0 < len(marks(place)) < 500
    reports = loading.until_complete()
    assert counts(reports[-1]) == (500, 0, 0)
    assert set(marks(place)) == set(range(1, 1001, 2))


# beside incremental loading


def test_a_sweep_of_what_is_appended_is_refused(api: SampleApi, tmp_path: Path) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.config = lambda: sample_config(api, [offset_paged(write_disposition="append")])
    loading.run()
    with pytest.raises(SettingsError, match=r"would load each of its rows once more.*SWEEPS"):
        loading.run(sweep=True)
    assert len(place.rows("contacts")) == 250


def by_cursor(api: SampleApi) -> RESTAPIConfig:
    cursor = {"type": "incremental", "cursor_path": "updated_at", "initial_value": "2020-01-01T00:00:00Z"}
    return sample_config(api, [offset_paged(params={"updated_since": cursor})])


def difference(place: Place, world: World) -> tuple[int, int, int]:
    """Count rows that are missing, stale, and not marked although they are gone."""
    found = {row["id"]: row for row in place.rows("contacts", "id, revision, _deleted_at")}
    living = {row["id"]: row["revision"] for row in world.snapshot("contacts")}
    here = {key: row["revision"] for key, row in found.items() if row["_deleted_at"] is None}
    return (
        len(living.keys() - here.keys()),
        sum(here[key] != revision for key, revision in living.items() if key in here),
        len(here.keys() - living.keys()),
    )


def meddle(world: World, random: Random) -> None:
    """Delete rows, change rows without a new cursor value, and change some as an API should."""
    table = world._tables["contacts"]  # noqa: SLF001 - an API that edits behind its own cursor
    for number in random.sample(table.numbers, 12):
        match random.randrange(3):
            case 0:
                world.delete("contacts", number)
            case 1:
                world.touch("contacts", number, updated_at="2021-01-01T00:00:00Z")
            case 2:
                world.touch("contacts", number)


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 21))])
def test_a_sweep_makes_good_what_the_cursor_missed_and_leaves_it_where_it_was(
    api: SampleApi, world: World, tmp_path: Path, seed: int
) -> None:
    loading, place, random = in_folder(api, tmp_path), BucketPlace(str(tmp_path)), Random(seed)  # noqa: S311 - a world to be told again
    loading.config = lambda: by_cursor(api)
    loading.run()
    for _ in range(3):
        meddle(world, random)
        assert counts(loading.run()) == (0, 0, 0)
    cursor = cursor_of(loading, api)
    missing, stale, undeleted = difference(place, world)
    print(f"incremental alone: {missing} missing, {stale} stale, {undeleted} undeleted")
    assert undeleted > 0
    report = loading.run(sweep=True, accept_deletes=True)
    assert counts(report)[0] == undeleted
    assert difference(place, world) == (0, 0, 0)
    assert cursor_of(loading, api) == cursor


def asked_since(api: SampleApi) -> str:
    return api.requests[-1].query["updated_since"]


def test_a_sweep_goes_on_over_several_runs_whatever_calls_them(api: SampleApi, world: World, tmp_path: Path) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.config = lambda: by_cursor(api)
    loading.run()
    cursor = cursor_of(loading, api)
    world.delete("contacts", 7)
    world.behave(Behaviour(failures={world_requests(world) + number: Failure(404) for number in (2, 4)}))
    for sweep in (True, False):
        with pytest.raises(Exception, match="404"):
            loading.run(sweep=sweep)
    assert marks(place) == {}
    assert counts(loading.run(sweep=True)) == (1, 0, 0)
    assert cursor_of(loading, api) == cursor


def test_a_sweep_that_is_given_up_by_a_change_of_configuration_leaves_the_cursor(
    api: SampleApi, world: World, tmp_path: Path
) -> None:
    loading = in_folder(api, tmp_path)
    loading.config = lambda: by_cursor(api)
    loading.run()
    cursor = cursor_of(loading, api)
    world.behave(Behaviour(failures={world_requests(world) + 2: Failure(404)}))
    with pytest.raises(Exception, match="404"):
        loading.run(sweep=True)
    config = by_cursor(api)
    config["resources"][0]["endpoint"]["params"]["extra"] = "1"  # type: ignore[index]
    loading.config = lambda: config
    assert cursor_of(loading, api) == cursor


def cursor_of(loading: Loading, api: SampleApi) -> str:
    """Run, and give from where it asked."""
    loading.run()
    return asked_since(api)


def test_a_sweep_may_interrupt_a_paused_incremental_pass(api: SampleApi, world: World, tmp_path: Path) -> None:
    loading, place = in_folder(api, tmp_path), BucketPlace(str(tmp_path))
    loading.config = lambda: by_cursor(api)
    world.behave(Behaviour(failures={2: Failure(404)}))
    with pytest.raises(Exception, match="404"):
        loading.run()
    assert loading.run(sweep=True).status == "complete"
    assert difference(place, world) == (0, 0, 0)
