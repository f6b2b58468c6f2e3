"""BigQuery refuses, hangs or is late: each run ends in time, the place stays, and the next run makes it good."""

import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.auth.exceptions import RefreshError, TransportError
from google.oauth2.credentials import Credentials

from loader.clock import Clock, SystemClock
from loader.destination.bigquery_client import WAIT_SECONDS
from loader.errors import DestinationError
from tests.clock import DrivenClock
from tests.end_to_end.support.loading import offset_paged, sample_config
from tests.end_to_end.support.places import BigQueryLoading, BigQueryPlace, difference
from tests.end_to_end.support.tables import EXACT
from tests.fakes.bigquery import Call, Meddling, refusal
from tests.local_server import Answer, Request, json_answer
from tests.sample_api import Behaviour, Failure, SampleApi, World


def without_lists(row: dict[str, Any]) -> dict[str, Any]:
    """Give the row without what would be child tables: fewer jobs, so a faster test."""
    return {name: value for name, value in row.items() if not isinstance(value, list)}


def contacts(api: SampleApi, place: BigQueryPlace, clock: Clock, **more: Any) -> BigQueryLoading:
    resources = [offset_paged("contacts", processing_steps=[{"map": without_lists}], **more)]
    return BigQueryLoading(Path(), lambda: sample_config(api, resources), clock, dataset=place.dataset)


def done(request: Request, call: Call, reason: str, message: str = "Told to fail") -> Answer:
    """Give the answer of BigQuery to the end of an upload, where the job fails at once."""
    del request
    error = {"reason": reason, "message": f"{message}: {reason}"}
    return json_answer(
        {
            "jobReference": {"projectId": "test-project", "jobId": call.job_id, "location": "US"},
            "configuration": {"jobType": "LOAD", "load": {}},
            "status": {"state": "DONE", "errorResult": error, "errors": [error]},
        }
    )


def refusing(kind: str, answer: Answer) -> Meddling:
    """Answer so whatever is of this kind."""
    return lambda call, _: answer if call.kind == kind else None


def running(answer: Answer) -> Answer:
    """Give an answer about a job, in which it still runs."""
    body = json.loads(answer.body)
    if "status" in body:
        body["status"] = {"state": "RUNNING"}
    else:
        body = {"jobReference": body["jobReference"], "jobComplete": False}
    return json_answer(body)


@pytest.mark.filterwarnings("ignore:Defining clustered tables")
def test_after_a_refusal_the_same_request_is_sent_again_ten_seconds_later_or_more(bigquery: BigQueryPlace) -> None:
    world, clock, front = World({"contacts": 150}), DrivenClock(), bigquery.front
    left = {"upload": 2, "load": 1, "query": 2, "table": 1}
    seen: list[Call] = []

    def meddle(call: Call, request: Request) -> Answer | None:
        seen.append(call)
        if not left.get(call.kind) or (call.kind == "query" and not call.is_merge):
            return None
        left[call.kind] -= 1
        # a load job that is made and fails must be made again; all else is asked for again
        return done(request, call, "quotaExceeded") if call.kind == "load" else refusal("rateLimitExceeded")

    front.meddle = meddle
    hints = {
        "created_at": {"data_type": "timestamp", "partition": True},
        "id": {"data_type": "bigint", "cluster": True},
    }
    with SampleApi(world) as api:
        assert contacts(api, bigquery, clock, columns=hints).run().status == "complete"
        assert difference(bigquery, world.snapshot("contacts")) == EXACT
        # nothing was read again for it
        assert sorted({request.query["offset"] for request in api.requests}) == ["0", "99"]
    assert not any(left.values())
    least, most = WAIT_SECONDS
    waits = [seconds for seconds in clock.sleeps if seconds >= least]
    assert least >= 10
    assert len(waits) == 6
    assert max(waits) <= most
    assert len(set(waits)) > 1
    # what docs/bigquery.md says of hints
    assert any("PARTITION BY DATE(`created_at`)\nCLUSTER BY `id`" in job.sql for job in front.queries)
    assert sum(job.is_merge for job in front.queries) == 1
    assert sum("TRUNCATE" in job.sql for job in front.queries) == 1
    # of three tables, one job was made twice
    assert Counter(call.kind for call in seen if call.kind == "load") == {"load": 4}


def test_what_bigquery_says_of_values_that_it_can_not_take_is_in_no_answer_and_no_log(
    bigquery: BigQueryPlace, caplog: pytest.LogCaptureFixture
) -> None:
    said = "JSON parsing error in row 1: Could not parse 'ann@example.com' as INT64; Value: ann@example.com"
    bigquery.front.meddle = lambda call, request: done(request, call, "invalid", said) if call.kind == "load" else None
    with SampleApi(World({"contacts": 50})) as api, pytest.raises(DestinationError, match=r"\(invalid\)") as raised:
        contacts(api, bigquery, DrivenClock()).run()
    assert "ann@" not in str(raised.value) + caplog.text


@pytest.mark.long
def test_a_refusal_that_lasts_ends_the_run_in_time_and_the_next_one_goes_on(bigquery: BigQueryPlace) -> None:
    world, clock, front = World({"contacts": 150}), DrivenClock(), bigquery.front
    front.meddle = lambda call, _: refusal("quotaExceeded") if call.kind == "upload" else None
    with SampleApi(world) as api:
        loading = contacts(api, bigquery, clock)
        began = clock.monotonic()
        with pytest.raises(DestinationError, match=r"quotaExceeded.*place stays.*run less often"):
            loading.run(seconds=120)
        assert 60 < clock.monotonic() - began < 120
        assert bigquery.rows("contacts") == []

        front.reset()
        assert loading.run().status == "complete"
        assert difference(bigquery, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize(
    ("by_hand", "reason", "helps"),
    [
        pytest.param(
            "DROP TABLE {staging}.contacts", "notFound", "", id="a staged table dropped", marks=pytest.mark.long
        ),
        pytest.param(
            "ALTER TABLE {dataset}.contacts DROP COLUMN email",
            "invalidQuery",
            "",
            id="a column dropped",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "ALTER TABLE {dataset}.contacts DROP COLUMN name; ALTER TABLE {dataset}.contacts ADD COLUMN name DATE",
            "invalidQuery",
            "ALTER TABLE {dataset}.contacts DROP COLUMN name",
            id="a type changed",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "ALTER TABLE {staging}.contacts DROP COLUMN email",
            "invalid",
            "",
            id="a staged column dropped",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_table_that_was_changed_by_hand_is_good_again_after_what_the_message_says(
    bigquery: BigQueryPlace, by_hand: str, reason: str, helps: str
) -> None:
    def do(statements: str) -> None:
        for statement in filter(None, statements.split("; ")):
            bigquery.select(statement.format(dataset=bigquery.dataset, staging=bigquery.staging))

    world = World({"contacts": 150})
    with SampleApi(world) as api:
        loading = contacts(api, bigquery, DrivenClock())
        loading.run()
        do(by_hand)
        with pytest.raises(DestinationError, match=rf"{reason}.*place stays.*_dlt_version"):
            loading.run()
        do(helps)
        for dataset in (bigquery.dataset, bigquery.staging):
            bigquery.select(f"DELETE FROM {dataset}._dlt_version WHERE schema_name = 'analytics_contacts'")  # noqa: S608
        world.touch("contacts", 7)
        assert loading.run(restart=True).status == "complete"
        assert difference(bigquery, world.snapshot("contacts")) == EXACT
        names = [{name: row[name] for name in ("email", "name")} for row in world.snapshot("contacts")]
        assert sorted(bigquery.rows("contacts", "email, name"), key=str) == sorted(names, key=str)


@pytest.mark.long
def test_without_a_right_or_a_token_the_place_stays_and_the_next_run_goes_on(
    bigquery: BigQueryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, clock, front = World({"contacts": 300}), DrivenClock(), bigquery.front
    world.behave(Behaviour(failures={3: Failure(429, retry_after=6_000)}))
    with SampleApi(world) as api:
        loading = contacts(api, bigquery, clock)
        assert loading.run().place == {"offset": 198}
        world.recover()
        for kind in ("dataset", "query", "upload"):
            for answer, advice in ((refusal("accessDenied"), "roles/bigquery"), (refusal("authError", 401), "token")):
                front.meddle = refusing(kind, answer)
                with pytest.raises(DestinationError, match=advice):
                    loading.run()
        front.reset()
        asked = len(api.requests)
        monkeypatch.setenv("DESTINATION__BIGQUERY__LOCATION", "EU")
        with pytest.raises(DestinationError, match="is in US, but DESTINATION__BIGQUERY__LOCATION is EU"):
            loading.run()
        monkeypatch.delenv("DESTINATION__BIGQUERY__LOCATION")
        assert len(api.requests) == asked
        # none of them is waited for: it does not pass by itself
        assert not [seconds for seconds in clock.sleeps if seconds >= WAIT_SECONDS[0]]

        assert loading.run().status == "complete"
        assert api.offsets("contacts")[asked] == 198
        assert difference(bigquery, world.snapshot("contacts")) == EXACT


@pytest.mark.long
def test_a_token_that_expires_is_renewed_also_where_that_fails_at_first(
    bigquery: BigQueryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, clock = World({"contacts": 150}), DrivenClock()
    unreached = iter(range(2))

    def refresh(credentials: Credentials, _: object) -> None:
        # as google-auth tells that it did not reach the server of tokens
        if next(unreached, None) is not None:
            raise RefreshError("Told to fail.") from TransportError("Told to fail.")  # type: ignore[no-untyped-call]
        credentials.token = "another"

    def expired(call: Call, request: Request) -> Answer | None:
        is_expired = call.kind == "upload" and request.headers["authorization"] == "Bearer token"
        return refusal("authError", 401) if is_expired else None

    monkeypatch.setattr(Credentials, "refresh", refresh)
    bigquery.front.meddle = expired
    with SampleApi(world) as api:
        assert contacts(api, bigquery, clock).run().status == "complete"
    assert len([seconds for seconds in clock.sleeps if seconds >= WAIT_SECONDS[0]]) == 2
    assert difference(bigquery, world.snapshot("contacts")) == EXACT


def test_a_staged_load_that_lands_after_its_run_died_changes_nothing(bigquery: BigQueryPlace) -> None:
    world, clock, front = World({"contacts": 150}), DrivenClock(), bigquery.front
    late: list[Request] = []

    def never_lands(call: Call, request: Request) -> Answer | None:
        if call.kind == "load" and call.table == f"{bigquery.staging}.contacts":
            late.append(request)
            return json_answer({}, 503)
        return None

    def lands_now(call: Call, request: Request) -> Answer | None:
        del request
        if call.is_merge:
            assert front.pass_on(late[0]).status == 200
        return None

    with SampleApi(world) as api:
        loading = contacts(api, bigquery, clock)
        front.meddle = never_lands
        with pytest.raises(DestinationError):
            loading.run(seconds=60)
        for key in range(1, 151, 2):
            world.touch("contacts", key)
        # a row that the dead run has seen, and nobody after it
        world.delete("contacts", 100)
        front.meddle = lands_now
        assert loading.run().status == "complete"
    assert difference(bigquery, world.snapshot("contacts")) == EXACT
    assert len(bigquery.select(f"SELECT id FROM {bigquery.staging}.contacts")) <= 151  # noqa: S608


@pytest.mark.long
def test_a_merge_that_runs_on_is_not_cancelled_and_the_next_run_waits_for_it(bigquery: BigQueryPlace) -> None:
    world, clock, front = World({"contacts": 150}), DrivenClock(), bigquery.front
    merge: list[str] = []
    after: list[str] = []

    def runs_on(call: Call, request: Request) -> Answer | None:
        if call.is_merge:
            merge.append(call.job_id)
            clock.advance(50)
        if call.job_id not in merge:
            return None
        # the real one holds its answer back for a while
        clock.advance(0.2)
        return running(front.pass_on(request))

    def ends_at_last(call: Call, request: Request) -> Answer | None:
        after.append("asked" if call.job_id in merge else call.kind)
        return running(front.pass_on(request)) if call.job_id in merge and after.count("asked") < 3 else None

    with SampleApi(world) as api:
        loading = contacts(api, bigquery, clock)
        front.meddle = runs_on
        with pytest.raises(DestinationError, match=r"too slow.*left to finish.*TIMEOUT_SECONDS"):
            loading.run(seconds=60)
        assert merge
        assert not any("cancel" in request.path for request in front.requests)

        world.touch("contacts", 8)
        front.meddle = ends_at_last
        assert loading.run().status == "complete"
    assert after.count("asked") == 3
    last_asked = len(after) - after[::-1].index("asked")
    assert "upload" not in after[:last_asked]
    assert difference(bigquery, world.snapshot("contacts")) == EXACT


@pytest.mark.long
@pytest.mark.parametrize("what", ["a query", "an upload", "a load job"])
def test_what_hangs_is_given_up_in_time(bigquery: BigQueryPlace, what: str) -> None:
    world, front = World({"contacts": 150}), bigquery.front
    hung: list[Call] = []

    def hang(call: Call, request: Request) -> Answer | None:
        if what == "a query" and call.is_merge:
            hung.append(call)
            front.wait(None)
        if what == "an upload" and call.kind == "load":
            hung.append(call)
            front.wait(None)
        if what == "a load job" and (call.kind == "load" or (call.kind == "job" and hung)):
            hung.append(replace(call))
            return running(front.pass_on(request))
        return None

    with SampleApi(world) as api:
        loading = contacts(api, bigquery, SystemClock())
        loading.run()
        world.touch("contacts", 7)
        front.meddle = hang
        began = time.monotonic()
        with pytest.raises(DestinationError, match="too slow"):
            loading.run(seconds=25)
        assert time.monotonic() - began < 25
        assert hung
        front.reset()
        # whether there was time to give it back hangs on how fast the emulator is just then
        bigquery.end_lease("contacts")
        assert loading.run().status == "complete"
    assert difference(bigquery, world.snapshot("contacts")) == EXACT
