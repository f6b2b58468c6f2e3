"""BigQuery: exact, with child tables, in few jobs whatever the number of rows."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loader.destination import bigquery_dlt as product
from loader.session import RetryPolicy
from loader.source import Description
from loader.status import status
from tests.end_to_end.support.loading import offset_paged, sample_config
from tests.end_to_end.support.places import BigQueryLoading, BigQueryPlace, assert_exact
from tests.sample_api import SampleApi, World

ROWS = 100_000


def conversations(
    api: SampleApi, place: BigQueryPlace, step: Callable[[Any], Any] = lambda row: row
) -> BigQueryLoading:
    """Load `conversations`, which have two lists; `step` sees each row that is read."""
    resources = [offset_paged("conversations", limit=500, processing_steps=[{"map": step}])]
    return BigQueryLoading(Path(), lambda: sample_config(api, resources), dataset=place.dataset)


def test_rows_and_lists_are_exact_in_few_jobs_whatever_their_number(
    bigquery: BigQueryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "STATE_ROWS", 2)
    world, front = World({"conversations": 1_500}), bigquery.front

    def meanwhile(row: Any) -> Any:
        # a row that was read changes and moves to the front while others are read: it comes twice in one package
        if row["id"] == 1_400 and row["revision"] == 2:
            world.move_to_front("conversations", 8, tags=[{"id": 9, "name": "moved"}])
        return row

    with SampleApi(world) as api:
        loading = conversations(api, bigquery, meanwhile)
        assert loading.run("conversations").rows == 1_500
        assert_exact(bigquery, world, "conversations")

        # every seventh row changes, and most of them lose their tags
        for key in range(1, 1_501, 7):
            world.touch("conversations", key, tags=[], participant_ids=[key])
        world.touch("conversations", 1_400)
        counts = []
        for _ in range(2):
            front.reset()
            loading.run("conversations")
            assert_exact(bigquery, world, "conversations")
            counts.append((len(front.queries), Counter(job.table for job in front.loads)))
            assert sum(job.is_merge for job in front.queries) == 1
            for _ in range(1_500):
                world.insert("conversations", "end")
            world.touch("conversations", 1_400)
        # what docs/cost.md says; at most 10 are promised
        assert counts[0][0] == 7
        assert counts[0][1] == dict.fromkeys(counts[0][1], 1)
        assert set(counts[0][1]) == {
            f"{bigquery.staging}.conversations",
            f"{bigquery.staging}.conversations__tags",
            f"{bigquery.staging}.conversations__participant_ids",
            f"{bigquery.dataset}.loader_passes",
            f"{bigquery.dataset}._dlt_pipeline_state",
        }
        # the last pass brought twice the rows, and deleted old states besides
        assert counts[1] == (counts[0][0] + 1, counts[0][1])

        front.reset()
        description = Description("analytics", loading.config(), RetryPolicy.of(loading.retries), 1, {})
        answer = status(description, loading.settings)["resources"]["conversations"]
        assert (answer["status"], answer["pass_rows"]) == ("complete", 3_000)
        assert len(front.queries) == 1

    assert {row["status"] for row in bigquery.rows("_dlt_loads")} == {0}
    # a load's staged rows are gone with the next load
    staged = bigquery.select(f"SELECT COUNT(*) AS n FROM {bigquery.staging}.conversations")  # noqa: S608
    assert staged[0]["n"] <= 3_000 + 10
    assert len(bigquery.rows("_dlt_pipeline_state")) == 1
    assert len(bigquery.rows("_dlt_loads")) == 3


@pytest.mark.long
def test_a_hundred_thousand_rows_are_one_chunk_in_as_few_jobs(bigquery: BigQueryPlace) -> None:
    world, front = World({"conversations": 500}), bigquery.front
    with SampleApi(world) as api:
        loading = conversations(api, bigquery)
        loading.run("conversations")
        for _ in range(ROWS - 500):
            world.insert("conversations", "end")
        front.reset()
        report = loading.run("conversations")
    print(f"{ROWS} rows: {report.chunks} chunk, {len(front.queries)} query jobs, {len(front.loads)} load jobs")
    assert (report.status, report.rows, report.chunks) == ("complete", ROWS, 1)
    assert len(front.queries) <= 10
    assert sum(job.is_merge for job in front.queries) == 1
    assert set(Counter(job.table for job in front.loads).values()) == {1}
    assert_exact(bigquery, world, "conversations")
