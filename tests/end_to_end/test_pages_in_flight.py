"""As fast as the API allows, and no faster than it wants: several pages at once, and every row all the same."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dlt.sources.rest_api import rest_api_source

from loader.chunk import Commit
from loader.chunks import Chunks
from loader.errors import ApiError
from loader.exchange import Exchange
from loader.reader import Reader
from tests.clock import DrivenClock
from tests.end_to_end.support import difference, read_again, serving
from tests.end_to_end.support.function import own_config
from tests.end_to_end.support.loading import Loading, offset_paged, sample_config
from tests.end_to_end.support.tables import EXACT
from tests.local_server import Answer, Request
from tests.sample_api import CLIENT_ID, KEY, Behaviour, Failure, SampleApi, World

MOST_REFUSED = 0.35
"""Of all requests."""


def load(folder: Path, api: SampleApi, at_once: int, resource: dict[str, Any] | None = None, **more: Any) -> Loading:
    """Load until the pass is complete."""
    resources = [resource] if resource else None
    loading = Loading(folder, lambda: sample_config(api, resources), pages_in_flight=at_once, **more)
    loading.until_complete()
    return loading


@pytest.mark.parametrize(
    ("behaviour", "resource"),
    [
        pytest.param(Behaviour(), None, id="offset"),
        pytest.param(Behaviour(page_cap=50), None, id="offset under a cap"),
        pytest.param(
            Behaviour(style="page_number"),
            {
                "name": "contacts",
                "endpoint": {
                    "path": "/v1/contacts",
                    "data_selector": "data",
                    "params": {"per_page": 100},
                    "paginator": {"type": "page_number", "base_page": 1, "total_path": "total_pages"},
                },
            },
            id="page number",
        ),
    ],
)
def test_eight_at_once_ask_for_the_very_pages_that_one_at_a_time_asks_for(
    tmp_path: Path, behaviour: Behaviour, resource: dict[str, Any] | None
) -> None:
    asked = {}
    for at_once in (1, 8):
        world = World({"contacts": 1_450}, replace(behaviour, latency=0.05))
        with SampleApi(world) as api:
            load(tmp_path / str(at_once), api, at_once, resource)
            asked[at_once] = sorted((request.path, tuple(request.query.items())) for request in api.requests)
            first, *others = api.requests
        assert first.in_flight == 1
        assert others[0].received_at - first.received_at >= 0.05
        assert api.max_in_flight <= at_once
        assert at_once == 1 or api.max_in_flight >= 2
        assert difference(tmp_path / str(at_once), world.snapshot("contacts")) == EXACT
    assert asked[1] == asked[8]


def test_one_at_a_time_sends_what_plain_dlt_sends_but_for_the_offsets(tmp_path: Path) -> None:
    with SampleApi(World({"contacts": 1_450})) as api:
        load(tmp_path, api, at_once=1)
        by_this = [sent(request) for request in api.requests]
        by_dlt = list(rest_api_source(sample_config(api)).resources["contacts"]) and api.requests[len(by_this) :]
    # and the closing lap
    assert by_this == [sent(request) for request in [*by_dlt, by_dlt[0]]]
    assert api.max_in_flight == 1


def sent(request: Request) -> Any:
    """Give what a server sees of a request, but for its offset."""
    query = [pair for pair in request.query.items() if pair[0] != "offset"]
    return request.method, request.path, query, sorted(request.headers.items())


def test_without_a_total_few_pages_are_asked_for_past_the_end(tmp_path: Path) -> None:
    world = World({"contacts": 2_450}, Behaviour(total=False, latency=0.02))
    with SampleApi(world) as api:
        load(tmp_path, api, at_once=8)
        assert len([offset for offset in api.offsets("contacts") if offset > 2_450]) <= 7
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize("at_once", [pytest.param(4, marks=pytest.mark.long), 8])
@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Behaviour(delete_every=3, insert_every=2, latency=0.01), id="deletes and inserts"),
        pytest.param(Behaviour(move_every=3, latency=0.01), id="moves", marks=pytest.mark.long),
    ],
)
def test_no_row_is_lost_in_a_list_that_moves_while_several_pages_are_under_way(
    tmp_path: Path, behaviour: Behaviour, at_once: int
) -> None:
    world = World({"contacts": 4_000}, behaviour)
    at_first = {row["id"] for row in world.snapshot("contacts")}
    with SampleApi(world) as api:
        # on this clock no page is slow
        loading = load(tmp_path, api, at_once, clock=DrivenClock())
        assert api.max_in_flight > 1
        # what is dropped where the reader steps back hangs on how the answers happen to come
        assert len(api.requests) <= 1.8 * 40 + 2 * at_once
    living = [row for row in world.snapshot("contacts") if row["id"] in at_first]
    found = difference(tmp_path, living)
    assert (found.missing, found.doubled) == ([], [])
    # what the last request of all has moved to the front could be seen by nobody
    assert {*found.stale} <= ({living[0]["id"]} if behaviour.move_every else set())
    assert loading.reports[-1].answer()["pass"]["verified"] is True


@pytest.mark.parametrize(
    ("total", "verified"), [pytest.param(False, None, id="no total"), pytest.param(True, True, id="a total")]
)
def test_where_a_row_has_left_a_page_that_was_slow_a_pass_is_verified_only_by_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, total: bool, verified: bool | None
) -> None:
    third_has_come = threading.Event()
    plain = Exchange.run

    def run(self: Exchange) -> None:
        plain(self)
        if "offset=198&" in str(self.request.url):
            third_has_come.set()

    class SlowSecondPage(SampleApi):
        def answer(self, request: Request) -> Answer:
            if request.query["offset"] == "99" and world.has("contacts", left):
                assert third_has_come.wait(10)
                world.delete("contacts", left)
                clock.advance(1)
            return super().answer(request)

    monkeypatch.setattr(Exchange, "run", run)
    world, clock = World({"contacts": 1_000}, Behaviour(total=total)), DrivenClock()
    left = world.snapshot("contacts")[150]["id"]
    with SlowSecondPage(world) as api:
        report = Loading(tmp_path, lambda: sample_config(api), clock, pages_in_flight=2).run()
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT
    assert report.answer()["pass"]["verified"] is verified


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Behaviour(rate_limit=(20, 1.0), latency=0.01), id="20 a second"),
        pytest.param(Behaviour(max_in_flight=3, latency=0.03), id="3 at once"),
    ],
)
@pytest.mark.parametrize("at_once", [4, pytest.param(8, marks=pytest.mark.long)])
def test_an_api_that_limits_its_requests_is_loaded_wholly_and_refuses_few(
    tmp_path: Path, behaviour: Behaviour, at_once: int
) -> None:
    world = World({"contacts": 2_500}, behaviour)
    with SampleApi(world) as api:
        loading = load(tmp_path, api, at_once)
        refused = sum(request.status == 429 for request in api.requests)
    assert len(loading.reports) == 1
    assert refused <= MOST_REFUSED * len(api.requests)
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_a_daily_limit_pauses_and_each_run_goes_on_where_the_rows_end(tmp_path: Path) -> None:
    world = World({"contacts": 2_500}, Behaviour(daily_limit=10, latency=0.01))
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api), DrivenClock(), pages_in_flight=8)
        while loading.run().status == "paused":
            assert loading.reports[-1].place
            world.next_window()
    assert 3 <= len(loading.reports) <= 6
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_pages_that_are_under_way_when_a_chunk_is_full_are_not_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.destination.bucket.Bucket.chunk_bytes", 150_000)
    world = World({"contacts": 1_000}, Behaviour(latency=0.01))
    with SampleApi(world) as api:
        loading = load(tmp_path, api, at_once=8)
        assert set(read_again(api)) <= {0}
    assert loading.reports[-1].chunks >= 3
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_pages_of_the_next_chunk_come_while_this_one_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loader.destination.bucket.Bucket.chunk_bytes", 400_000)
    world = World({"contacts": 6_000})
    plain = Chunks._commit  # noqa: SLF001 - there is no other way to be there when it happens
    at_hand: list[int] = []

    def slow_commit(self: Chunks, reader: Reader) -> Any:
        report = self._report
        patience = time.monotonic() + 10
        while len(at_hand) == 1 and len(api.requests) < report.pages_read + 20 and time.monotonic() < patience:
            time.sleep(0.001)
        at_hand.append(len(api.requests) - report.pages_read)
        record = plain(self, reader)
        self._last_commit = Commit(5.0, 400_000)  # as if it had taken so long
        return record

    monkeypatch.setattr(Chunks, "_commit", slow_commit)
    with SampleApi(world) as api:
        loading = load(tmp_path, api, at_once=4)
        assert set(read_again(api)) <= {0}
        assert api.max_in_flight <= 4
    # nothing is known of the first commit
    assert at_hand[0] < 8
    assert at_hand[1] >= 20
    assert loading.reports[-1].chunks == len(at_hand) >= 3
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize("kind", ["html", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("same_page", 500))])
def test_a_page_that_fails_for_good_keeps_those_before_it_and_the_next_run_goes_on_there(
    tmp_path: Path, kind: Any
) -> None:
    world = World({"contacts": 2_000}, Behaviour(fail_from=(7, Failure(kind)), latency=0.01))
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api), DrivenClock(), pages_in_flight=8)
        with pytest.raises(ApiError):
            loading.run()
        failed = loading.reports[-1]
        assert failed.rows >= 100
        world.recover()
        asked = len(api.requests)
        assert loading.run().status == "complete"
        assert api.offsets("contacts")[asked] == failed.place["offset"]  # type: ignore[index] # it has one
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_tokens_are_not_asked_for_by_several_pages_at_once(tmp_path: Path) -> None:
    world = World({"contacts": 1_500}, Behaviour(auth="bearer", latency=0.01))
    with SampleApi(world) as api:
        auth = {
            "type": "oauth2_client_credentials",
            "access_token_url": f"{api.url}/oauth/token",
            "client_id": CLIENT_ID,
            "client_secret": KEY,
        }
        loading = Loading(tmp_path, lambda: sample_config(api, auth=auth), pages_in_flight=8)
        assert loading.run().status == "complete"
        assert len([request for request in api.requests if request.resource == "token"]) == 1
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_a_dependent_resource_is_read_with_several_pages_at_once(tmp_path: Path) -> None:
    world = World({"conversations": 20})
    parts = {
        "name": "parts",
        "endpoint": {
            "path": "/v1/conversations/{resources.conversations.id}/parts",
            "data_selector": "data",
            "paginator": {"type": "offset", "limit": 2},
        },
    }
    rows = {}
    for at_once in (1, 8):
        with SampleApi(world) as api:
            resources = [offset_paged("conversations", limit=25), parts]
            config: Callable[[], Any] = lambda: sample_config(api, resources)  # noqa: B023, E731 - called in here
            loading = Loading(tmp_path / str(at_once), config, pages_in_flight=at_once)
            rows[at_once] = loading.run("parts").rows
    assert rows[1] == rows[8] > 0


@pytest.mark.long
def test_a_pass_that_takes_longer_than_the_time_box_is_exact_with_eight_at_once(tmp_path: Path) -> None:
    world = World({"contacts": 10_000}, Behaviour(latency=1.0))
    with SampleApi(world) as api, serving(api, tmp_path, config=own_config(8), TIMEOUT_SECONDS=15) as function:
        answers = [function.load("contacts")]
        while answers[-1]["status"] == "paused" and len(answers) < 12:
            answers.append(function.load("contacts"))
        asked = len(api.offsets("contacts"))
    assert [answer["status"] for answer in answers] == ["paused"] * (len(answers) - 1) + ["complete"]
    assert len(answers) >= 2
    assert max(answer.seconds for answer in answers) < 15
    # what was under way when the time was up is asked for again
    assert asked <= 105 + 8 * len(answers)
    assert api.max_in_flight <= 8
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


@pytest.mark.long
@pytest.mark.parametrize("failure", [Failure("hang"), Failure("drip", interval=0.5), Failure(429, retry_after=600)])
def test_an_api_that_hangs_with_eight_at_once_is_answered_in_time(tmp_path: Path, failure: Failure) -> None:
    world = World({"contacts": 2_000}, Behaviour(fail_from=(6, failure)))
    with SampleApi(world) as api, serving(api, tmp_path, config=own_config(8), TIMEOUT_SECONDS=9) as function:
        first = function.load()
        assert (first.code, first["status"]) == (200, "paused")
        assert first.seconds < 9
        world.recover()
        until = time.monotonic() + 30
        while function.load()["status"] != "complete":
            assert time.monotonic() < until
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT
