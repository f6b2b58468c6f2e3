"""Reads every row: hostile worlds, nonsense, and any dlt configuration, through the real load."""

import random
from pathlib import Path
from typing import Any

import pytest
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator, PageNumberPaginator

from loader.errors import ApiError
from loader.report import Report
from tests.clock import DrivenClock
from tests.end_to_end.support.loading import Loading, offset_paged, sample_config
from tests.end_to_end.support.tables import EXACT, difference, rows_of
from tests.sample_api import KEY, Behaviour, Failure, SampleApi, World


def passed(report: Report) -> dict[str, Any]:
    assert report.current_pass is not None
    return report.current_pass


@pytest.mark.parametrize(
    ("rows", "behaviour", "most"),
    [
        pytest.param(20_000, Behaviour(), 1.02, id="calm"),
        pytest.param(20_000, Behaviour(delete_every=3, total=False), 1.35, id="deletes"),
        pytest.param(5_000, Behaviour(delete_every=3, insert_every=2), 1.35, id="deletes and inserts"),
        pytest.param(5_000, Behaviour(move_every=3, total=False), 1.35, id="moves to the front"),
        pytest.param(5_000, Behaviour(move_every=3), 1.35, id="moves to the front, with a total"),
        pytest.param(5_000, Behaviour(page_cap=50), 1.05, id="a cap"),
        pytest.param(5_000, Behaviour(page_cap=50, delete_every=3), 1.35, id="a cap and deletes"),
        pytest.param(1_000, Behaviour(total_error=-500), 1.3, id="a total that is too small"),
    ],
)
@pytest.mark.parametrize("at_once", [1, pytest.param(8, marks=pytest.mark.long)])
def test_no_row_is_lost_or_doubled_in_a_list_that_moves(
    tmp_path: Path, rows: int, behaviour: Behaviour, most: float, at_once: int
) -> None:
    world = World({"contacts": rows}, behaviour)
    at_first = {row["id"] for row in world.snapshot("contacts")}
    with SampleApi(world) as api:
        # on this clock no page is slow
        report = Loading(tmp_path, lambda: sample_config(api), DrivenClock(), pages_in_flight=at_once).run()
    living = [row for row in world.snapshot("contacts") if row["id"] in at_first]
    found = difference(tmp_path, living)
    assert (found.missing, found.doubled) == ([], [])
    # what the last request of all has moved to the front could be seen by nobody
    assert {*found.stale} <= ({living[0]["id"]} if at_once > 1 and behaviour.move_every else set())
    assert passed(report)["verified"] is True
    in_vain = 0 if at_once == 1 else 0.1 * rows / 100 + 4 * at_once
    assert len(api.requests) <= most * rows / (behaviour.page_cap or 100) + in_vain


@pytest.mark.long
def test_moving_rows_are_read_over_many_invocations_at_a_bounded_price(tmp_path: Path) -> None:
    clock = DrivenClock()
    world = World({"contacts": 8_000}, Behaviour(delete_every=4, daily_limit=9))
    at_first = {row["id"] for row in world.snapshot("contacts")}
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api), clock)
        while loading.run().status == "paused":
            world.next_window()
    living = [row for row in world.snapshot("contacts") if row["id"] in at_first]
    found = difference(tmp_path, living)
    assert (found.missing, found.doubled, found.stale) == ([], [], [])
    assert len(loading.reports) >= 9
    assert passed(loading.reports[-1])["verified"] is True
    answered = [request for request in api.requests if request.status == 200]
    assert len(answered) <= 1.6 * 80


def test_a_list_without_an_order_is_loaded_as_it_comes_and_is_not_verified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World({"contacts": 2_000}, Behaviour(unstable_order=True))
    with SampleApi(world) as api:
        report = Loading(tmp_path, lambda: sample_config(api)).run()
    assert report.status == "complete"
    assert passed(report)["verified"] is False
    assert passed(report)["checks"]["neighbours"] is False
    assert "sort parameter" in caplog.text
    assert len(api.requests) <= 100


NONSENSE: tuple[Any, ...] = ("html", "error_body", "no_data", "null_data", "cut_json", "short_body", "same_page")


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_an_error_of_the_api_and_never_a_completed_pass(tmp_path: Path, kind: Any) -> None:
    world = World({"contacts": 1_000}, Behaviour(fail_from=(5, Failure(kind))))
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api), DrivenClock())
        with pytest.raises(ApiError) as error:
            loading.run()
        # what the API sent may be customers' rows
        assert "@example" not in str(error.value)
        first_pages = {row["id"] for row in rows_of(tmp_path, columns="id")}
        assert {row["id"] for row in world.snapshot("contacts")[:397]} <= first_pages
        world.recover()
        assert loading.run().status == "complete"
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


@pytest.mark.parametrize("kind", ["no_data", "cut_json"])
def test_nonsense_that_passes_is_asked_for_again(tmp_path: Path, kind: Any) -> None:
    clock = DrivenClock()
    world = World({"contacts": 300}, Behaviour(failures={2: Failure(kind), 3: Failure(kind)}))
    with SampleApi(world) as api:
        report = Loading(tmp_path, lambda: sample_config(api), clock).run()
    assert report.status == "complete"
    assert clock.sleeps == [2.0, 4.0]
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def paged(style: str, paginator: Any, **endpoint: Any) -> Any:
    fields = {"path": "/v1/contacts", "data_selector": "data", **endpoint}
    if paginator is not None:
        fields["paginator"] = paginator
    kind = paginator["type"] if isinstance(paginator, dict) else paginator
    name = type(kind).__name__ if isinstance(kind, OffsetPaginator) else kind
    return pytest.param(style, {"name": "contacts", "endpoint": fields}, id=f"{style} by {name}")


PAGINATORS = [
    paged("offset", {"type": "offset", "limit": 50}),
    paged("offset", OffsetPaginator(limit=50, total_path=None)),
    paged(
        "page_number",
        {"type": "page_number", "base_page": 1, "total_path": "total_pages"},
        params={"per_page": 50},
    ),
    paged("page_number", "auto", params={"per_page": 50}),
    paged("page_number", None, params={"per_page": 50}),
    paged("cursor", {"type": "cursor", "cursor_path": "cursors.next"}, params={"limit": 50}),
    paged("cursor", "auto", params={"limit": 50}),
    paged(
        "body_cursor",
        {"type": "cursor", "cursor_path": "cursors.next", "cursor_body_path": "cursor"},
        method="POST",
        path="/v1/contacts/search",
        json={"limit": 50},
    ),
    paged("header_cursor", {"type": "header_cursor", "cursor_key": "X-Next-Cursor"}, params={"limit": 50}),
    paged("json_link", "json_link", params={"limit": 50}),
    paged("json_link", "auto", params={"limit": 50}),
    paged("header_link", "header_link", params={"limit": 50}),
    paged("header_link", None, params={"limit": 50}),
]


@pytest.mark.parametrize(("style", "resource"), PAGINATORS)
def test_each_paginator_loads_all_rows_in_one_run(tmp_path: Path, style: Any, resource: dict[str, Any]) -> None:
    world = World({"contacts": 420}, Behaviour(style=style))
    with SampleApi(world) as api:
        report = Loading(tmp_path, lambda: sample_config(api, [resource])).run()
    assert report.status == "complete"
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT
    assert passed(report)["verified"] is not False
    assert passed(report)["rows"] == 420


@pytest.mark.parametrize(("style", "resource"), PAGINATORS)
def test_each_paginator_goes_on_where_it_stopped(tmp_path: Path, style: Any, resource: dict[str, Any]) -> None:
    world = World({"contacts": 420}, Behaviour(style=style, daily_limit=4))
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api, [resource]), DrivenClock())
        while loading.run().status == "paused":
            assert len(loading.reports) < 10
            world.next_window()
    assert len(loading.reports) >= 3
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT
    answered = [request for request in api.requests if request.status == 200]
    assert len(answered) <= 12
    assert KEY not in "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*.jsonl"))


class OwnPaginator(PageNumberPaginator):
    """A paginator of somebody else's."""


def test_an_own_paginator_is_read_in_one_run_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "loader")
    world = World({"contacts": 420}, Behaviour(style="page_number"))
    endpoint = {
        "path": "/v1/contacts",
        "data_selector": "data",
        "params": {"per_page": 50},
        "paginator": OwnPaginator(base_page=1, total_path="total_pages"),
    }
    with SampleApi(world) as api:
        config = lambda: sample_config(api, [{"name": "contacts", "endpoint": endpoint}])  # noqa: E731
        assert Loading(tmp_path, config).run().status == "complete"
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT
    assert "a new pass, in this one run, because" in caplog.text


def test_a_list_that_promises_more_without_a_way_to_it_is_not_verified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World({"contacts": 300})
    with SampleApi(world) as api:
        first_page_only = {
            "name": "contacts",
            "endpoint": {"path": "/v1/contacts", "data_selector": "data", "params": {"limit": 100}},
        }
        report = Loading(tmp_path, lambda: sample_config(api, [first_page_only])).run()
    # the total gives it away
    assert passed(report)["verified"] is False
    assert "the API says that there are more rows than it gave" in caplog.text


def test_resources_may_be_plain_strings_under_defaults(tmp_path: Path) -> None:
    world = World({"contacts": 250})
    with SampleApi(world) as api:

        def config() -> Any:
            described: Any = sample_config(api, ["contacts"])
            described["client"]["base_url"] = f"{api.url}/v1"
            described["resource_defaults"]["endpoint"] = {
                "data_selector": "data",
                "paginator": {"type": "offset", "limit": 100},
            }
            return described

        assert Loading(tmp_path, config).run().status == "complete"
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_a_dependent_resource_loads_what_its_parents_lead_to(tmp_path: Path) -> None:
    world = World({"conversations": 60})
    parts = {
        "name": "parts",
        "include_from_parent": ["subject"],
        "endpoint": {
            "path": "/v1/conversations/{resources.conversations.id}/parts",
            "data_selector": "data",
            "paginator": {"type": "offset", "limit": 2},
        },
    }
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api, [offset_paged("conversations", limit=25), parts]))
        report = loading.run("parts")
        rows = rows_of(tmp_path, "parts", "id, _conversations_subject")
        asked = {request.path for request in api.requests}
    assert report.status == "complete"
    assert len(asked) == 61
    assert len({row["id"] for row in rows}) == len(rows) == report.rows > 0
    assert all(row["_conversations_subject"] for row in rows)


def test_processing_steps_and_response_actions_do_as_in_dlt(tmp_path: Path) -> None:
    world = World({"contacts": 250}, Behaviour(failures={4: Failure(404)}))
    resource = offset_paged(
        processing_steps=[
            {"filter": lambda row: row["id"] % 2 == 0},
            {"map": lambda row: {**row, "name": "hidden"}},
        ]
    )
    resource["endpoint"]["response_actions"] = [{"status_code": 404, "action": "ignore"}]
    with SampleApi(world) as api:
        report = Loading(tmp_path, lambda: sample_config(api, [resource])).run()
    rows = rows_of(tmp_path, columns="id, name")
    assert report.status == "complete"
    assert {row["id"] for row in rows} == {row["id"] for row in world.snapshot("contacts") if row["id"] % 2 == 0}
    assert {row["name"] for row in rows} == {"hidden"}
    assert passed(report)["rows"] == 250


@pytest.mark.parametrize(
    ("behaviour", "auth"),
    [
        pytest.param("query", {"type": "api_key", "name": "api_key", "api_key": KEY, "location": "query"}, id="query"),
        pytest.param("header", {"type": "api_key", "name": "X-Api-Key", "api_key": KEY}, id="header"),
        pytest.param("bearer", {"type": "bearer", "token": KEY}, id="bearer"),
        pytest.param("basic", {"type": "http_basic", "username": "me", "password": KEY}, id="basic"),
    ],
)
def test_each_auth_type_signs_in(tmp_path: Path, behaviour: Any, auth: Any) -> None:
    world = World({"contacts": 150}, Behaviour(auth=behaviour))
    with SampleApi(world) as api:
        assert Loading(tmp_path, lambda: sample_config(api, auth=auth)).run().status == "complete"
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT


def test_each_complete_pass_leaves_a_row_in_the_history(tmp_path: Path) -> None:
    world = World({"contacts": 250})
    with SampleApi(world) as api:
        loading = Loading(tmp_path, lambda: sample_config(api))
        loading.run()
        world.insert("contacts", "end")
        report = loading.run()
    history = sorted(rows_of(tmp_path, "loader_passes"), key=lambda row: row["completed_at"])
    assert [(row["resource"], row["rows"], row["verified"]) for row in history] == [
        ("contacts", 250, True),
        ("contacts", 251, True),
    ]
    assert history[-1]["pages"] == passed(report)["pages"]


@pytest.mark.parametrize(
    ("paginator", "rows"),
    [
        pytest.param({"maximum_offset": 200}, 200, id="maximum_offset"),
        pytest.param({"offset": 100}, 320, id="offset"),
        pytest.param({"total_path": None}, 420, id="no total_path"),
        pytest.param({"stop_after_empty_page": False}, 420, id="stop_after_empty_page"),
        pytest.param({"total_path": "nowhere.to.be.found"}, 420, id="a total_path that leads nowhere"),
    ],
)
def test_what_an_offset_paginator_is_told_keeps_its_meaning(tmp_path: Path, paginator: Any, rows: int) -> None:
    world = World({"contacts": 420})
    resource = offset_paged()
    resource["endpoint"]["paginator"] |= paginator
    with SampleApi(world) as api:
        report = Loading(tmp_path, lambda: sample_config(api, [resource])).run()
        assert len(api.requests) <= 9
    assert report.status == "complete"
    assert len(rows_of(tmp_path, columns="id")) == rows
    assert passed(report)["verified"] is not False


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100))
def test_a_random_world_is_read_exactly_through_the_real_load(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable worlds
    behaviour = Behaviour(
        total=chance.random() < 0.5,
        page_cap=chance.choice([None, 30, 70]),
        delete_every=chance.choice([None, 2, 3, 7]),
        insert_every=chance.choice([None, 2, 5]),
        insert_where=chance.choice(["front", "end"]),
        move_every=chance.choice([None, 2, 3, 7]),
        daily_limit=chance.choice([None, 4, 9]),
        failures={chance.randrange(2, 12): Failure(chance.choice([429, 503, "cut_json", "no_data", "reset"]))},
    )
    world = World(
        {"contacts": chance.randrange(1_500)}, behaviour, seed=seed, keys=chance.choice(["ordered", "random"])
    )
    at_first = {row["id"] for row in world.snapshot("contacts")}
    with SampleApi(world) as api:
        at_once = chance.choice([1, 4, 8])
        loading = Loading(tmp_path, lambda: sample_config(api), DrivenClock(), pages_in_flight=at_once)
        while loading.run().status == "paused":
            assert len(loading.reports) < 40
            world.next_window()
    found = difference(tmp_path, [row for row in world.snapshot("contacts") if row["id"] in at_first])
    assert (found.missing, found.doubled) == ([], [])
    assert passed(loading.reports[-1])["verified"] is not False


def test_a_cursor_that_has_expired_between_two_runs_says_what_to_do(tmp_path: Path) -> None:
    world = World({"contacts": 420}, Behaviour(style="cursor", daily_limit=4))
    endpoint = {
        "path": "/v1/contacts",
        "data_selector": "data",
        "params": {"limit": 50},
        "paginator": {"type": "cursor", "cursor_path": "cursors.next"},
    }
    with SampleApi(world) as api:
        config = lambda: sample_config(api, [{"name": "contacts", "endpoint": endpoint}])  # noqa: E731
        loading = Loading(tmp_path, config, DrivenClock())
        assert loading.run().status == "paused"
        world.behave(Behaviour(style="cursor", fail_from=(1, Failure(400))))
        with pytest.raises(ApiError, match="restart"):
            loading.run()
        world.recover()
        assert loading.run(restart=True).status == "complete"
    assert difference(tmp_path, world.snapshot("contacts")) == EXACT
