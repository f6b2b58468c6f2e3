"""A look before the first load names what would cost rows, with the line that cures it, and cries no wolf."""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
import pytest

from loader.check import check
from loader.check.look import MAX_REQUESTS
from loader.errors import SettingsError
from tests.clock import DrivenClock
from tests.end_to_end.support import Loading, columns_of, sample_config
from tests.function import free_port
from tests.sample_api import KEY, Behaviour, Failure, Row, SampleApi, World

OF_RESOURCE = ("primary_key", "columns", "processing_steps")
BY_OFFSET = {"type": "offset", "limit": 100}
BY_NUMBER = {"type": "page_number", "base_page": 1, "total_path": "total_pages"}
FIFTY = {"per_page": 50}


@dataclass(frozen=True)
class Case:
    """An API, how it is configured, and what is to be found."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    paginator: Any = field(default_factory=lambda: BY_OFFSET)
    findings: Mapping[str, str | None] = field(default_factory=dict)
    """The line by the code."""
    rows: int = 250
    edit: Callable[[str, int, Row], None] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)
    total: int | None = None

    def world(self) -> World:
        return World({"contacts": self.rows}, self.behaviour, edit=self.edit)

    def resources(self, *lines: str) -> list[Any]:
        """Give the resource, with lines pasted."""
        path = "/v1/contacts/search" if self.behaviour.style == "body_cursor" else "/v1/contacts"
        endpoint = {"path": path, "data_selector": "data", "paginator": self.paginator, "params": dict(self.params)}
        if self.behaviour.style == "body_cursor":
            endpoint |= {"method": "POST", "json": endpoint.pop("params")}
        endpoint |= self.endpoint
        resource: dict[str, Any] = {"name": "contacts", "endpoint": endpoint, **self.resource}
        for line in lines:
            for name, value in eval("{" + line + "}", {}).items():  # noqa: S307 - as source_config.py would
                (resource if name in OF_RESOURCE else endpoint)[name] = value
        return [resource]

    def config(self, api: SampleApi, *lines: str) -> Any:
        config: Any = sample_config(api, self.resources(*lines), **self.client)
        return config

    def loading(self, api: SampleApi, folder: Path, *lines: str) -> Loading:
        return Loading(folder / "data", lambda: self.config(api, *lines), DrivenClock())

    def look(self, api: SampleApi, folder: Path) -> dict[str, Any]:
        loading = self.loading(api, folder)
        return check("contacts", loading.settings, loading.module(), loading.clock).answer()


def every(what: Any) -> Behaviour:
    return Behaviour(fail_from=(1, Failure(what)))


def without_id(_: str, n: int, row: Row) -> None:
    row["uuid"] = f"u{n}"
    del row["id"]


def same_id(_: str, n: int, row: Row) -> None:
    row["uuid"] = f"u{n}"
    row["id"] = n // 2


def split(_: str, n: int, row: Row) -> None:
    row["price"] = 10 if n % 2 else 10.5


def collide(_: str, n: int, row: Row) -> None:
    row |= {"userId": n, "user_id": -n}


def taken(_: str, n: int, row: Row) -> None:
    row |= {"_dlt_id": n}


CAPPED = '"paginator": {"type": "offset", "limit": 50},'
UNTRUSTED = '"paginator": {"type": "offset", "limit": 100, "total_path": "not_told"},'
SORTED = '"params": {"sort": "id"},'
UUID = '"primary_key": "uuid",'
FROM_1 = '"paginator": {"type": "page_number", "total_path": "total_pages", "base_page": 1},'
FROM_0 = '"paginator": {"type": "page_number", "base_page": 0, "total_path": "total_pages"},'
UP_TO_AN_EMPTY_ONE = '"paginator": {"type": "page_number", "base_page": 1, "total_path": None},'
AT_ONCE = '"params": {"limit": 10000}, "paginator": "single_page",'

HOSTILE = {
    "a cap": Case(Behaviour(page_cap=50), findings={"page_capped": CAPPED}),
    "a cap, and no total": Case(
        Behaviour(page_cap=50, total=False),
        findings={"page_capped": CAPPED, "total_missing": None},
    ),
    "a cap on pages by number": Case(
        Behaviour(style="page_number", page_cap=50),
        BY_NUMBER,
        {"page_capped": '"params": {"per_page": 50},'},
        params={"per_page": 100},
    ),
    "the offset is ignored": Case(every("same_page"), findings={"offset_ignored": AT_ONCE}),
    "pages go by number": Case(Behaviour(style="page_number"), findings={"offset_ignored": UP_TO_AN_EMPTY_ONE}),
    "pages go by cursor": Case(
        Behaviour(style="cursor"),
        findings={"offset_ignored": '"paginator": {"type": "cursor", "cursor_path": "cursors.next"},'},
    ),
    "pages go by offset": Case(
        paginator=BY_NUMBER | {"total_path": None},
        findings={"offset_ignored": '"paginator": {"type": "offset", "limit": 100},'},
    ),
    "no way on is found": Case(
        paginator="auto", findings={"offset_ignored": '"paginator": {"type": "offset", "limit": 100},'}
    ),
    "no order": Case(Behaviour(unstable_order=True, sort_param="sort"), findings={"order_unstable": SORTED}),
    "an order by another name": Case(
        Behaviour(unstable_order=True, sort_param="order_by"),
        findings={"order_unstable": '"params": {"order_by": "id"},'},
    ),
    "a total that is too large": Case(Behaviour(total_error=3), findings={"total_wrong": UNTRUSTED}),
    "a total that is too small": Case(Behaviour(total_error=-3), findings={"total_wrong": UNTRUSTED}),
    "too many pages are told": Case(
        Behaviour(style="page_number", total_error=200),
        BY_NUMBER,
        {"total_wrong": '"paginator": {"type": "page_number", "base_page": 1, "total_path": "total"},'},
        rows=450,
    ),
    "too few pages are told": Case(
        Behaviour(style="page_number", total_error=-100), BY_NUMBER, {"total_wrong": UP_TO_AN_EMPTY_ONE}
    ),
    "no number of pages": Case(
        Behaviour(style="page_number", total=False), BY_NUMBER, {"total_wrong": UP_TO_AN_EMPTY_ONE}
    ),
    "there is no page 0": Case(
        Behaviour(style="page_number"), {"type": "page_number", "total_path": "total_pages"}, {"first_page": FROM_1}
    ),
    "page 0 is left out": Case(Behaviour(style="page_number", first_page=0), BY_NUMBER, {"first_page": FROM_0}),
    "no key": Case(findings={"key_missing": UUID}, edit=without_id),
    "a key that is not one": Case(findings={"key_repeated": UUID}, edit=same_id),
    "no key is configured": Case(findings={"key_missing": '"primary_key": "id",'}, resource={"primary_key": None}),
    "rows are elsewhere": Case(
        findings={"error_body": '"data_selector": "data",'}, endpoint={"data_selector": "items"}
    ),
    "a number of two types": Case(
        findings={"number_split": '"columns": {"price": {"data_type": "double"}},'}, edit=split
    ),
    "two names for one column": Case(
        findings={
            "names_collide": '"processing_steps": [{"map": lambda row: {"userId_2": row.pop("userId", None), **row}}],'
        },
        edit=collide,
    ),
    "a name that the loader takes": Case(
        findings={
            "names_collide": '"processing_steps": [{"map": lambda row: {"dlt_id_2": row.pop("_dlt_id", None), **row}}],'
        },
        edit=taken,
    ),
}
CURES = {name: case for name, case in HOSTILE.items() if None not in case.findings.values()}
PAIRS = {
    "a cap and no order": Case(
        Behaviour(page_cap=50, unstable_order=True, sort_param="sort"),
        findings={"page_capped": CAPPED, "order_unstable": SORTED},
    ),
    "a cap and a wrong total": Case(
        Behaviour(page_cap=50, total_error=7),
        findings=dict.fromkeys(
            ("page_capped", "total_wrong"), '"paginator": {"type": "offset", "limit": 50, "total_path": "not_told"},'
        ),
    ),
    "a cap and no key": Case(
        Behaviour(page_cap=50), findings={"page_capped": CAPPED, "key_missing": UUID}, edit=without_id
    ),
    "a cap and an ignored offset": Case(
        Behaviour(page_cap=50, fail_from=(1, Failure("same_page"))),
        findings={"page_capped": CAPPED, "offset_ignored": None},
    ),
    "no order and a wrong total": Case(
        Behaviour(unstable_order=True, sort_param="sort", total_error=-5),
        findings={"order_unstable": SORTED, "total_wrong": UNTRUSTED},
    ),
    "no order and a key that is not one": Case(
        Behaviour(unstable_order=True, sort_param="sort"),
        findings={"order_unstable": '"params": {"sort": "uuid"},', "key_repeated": UUID},
        edit=same_id,
    ),
    "no page 0 and no key": Case(
        Behaviour(style="page_number"),
        {"type": "page_number", "total_path": "total_pages"},
        {"first_page": FROM_1, "key_missing": UUID},
        edit=without_id,
    ),
    "rows elsewhere and a cap": Case(
        Behaviour(page_cap=50),
        findings={"error_body": '"data_selector": "data",', "page_capped": CAPPED},
        endpoint={"data_selector": "items"},
    ),
}
CURABLE_PAIRS = {name: case for name, case in PAIRS.items() if None not in case.findings.values()}
REFUSED = {
    "the key is wrong": Case(Behaviour(auth="header"), findings={"unauthorized": None}),
    "the key may not read it": Case(every(403), findings={"unauthorized": None}),
    "an unknown path": Case(findings={"not_found": None}, endpoint={"path": "/v1/nothing"}),
    "an error with status 200": Case(every("error_body"), findings={"error_body": None}),
    "a web page": Case(every("html"), findings={"error_body": None}),
    "an error with status 200, later": Case(
        Behaviour(fail_from=(3, Failure("error_body"))), findings={"error_body": None}
    ),
    "it is down": Case(every(503), findings={"unreachable": None}),
    "a limit for today": Case(Behaviour(daily_limit=0, daily_retry_after=3600), findings={"unreachable": None}),
    "nobody answers": Case(findings={"unreachable": None}, client={"base_url": f"http://127.0.0.1:{free_port()}"}),
    "it goes down, later": Case(Behaviour(fail_from=(3, Failure(503))), findings={"unreachable": None}),
    "nothing is there": Case(rows=0, findings={"no_data": None}),
}


LONG = {
    *("a cap, and no total", "a cap on pages by number", "an order by another name", "pages go by offset"),
    *("a total that is too small", "no number of pages", "the key may not read it", "a web page"),
    *("it goes down, later", "a limit for today", "no total, by number", "auto, by number", "cursor in the body"),
    *("links in a header", "no total, one page", "pages by number, from 0", "one page", "a full page by offset"),
    *PAIRS,
}
"""What is much like another case, and left to `make test-all`."""

QUICK = ("a cap", "no order", "page 0 is left out", "a key that is not one")
"""Cures that are loaded with in any test run; the others take a second each, too."""


def cases(chosen: Mapping[str, Case], *, long: Container[str] = ()) -> list[Any]:
    marks = {True: [pytest.mark.long], False: []}
    return [pytest.param(case, id=name, marks=marks[name in long]) for name, case in chosen.items()]


@pytest.mark.parametrize("case", cases({**HOSTILE, **PAIRS, **REFUSED}, long=LONG))
def test_what_would_cost_rows_is_named_with_its_line(case: Case, tmp_path: Path) -> None:
    with SampleApi(case.world()) as api:
        found = case.look(api, tmp_path)
    assert {finding["code"]: finding["fix"] for finding in found["findings"]} == case.findings
    errors = [finding["code"] for finding in found["findings"] if finding["level"] == "error"]
    assert found["ok"] is not bool(errors)
    assert len(api.requests) == found["requests"] <= MAX_REQUESTS or not api.requests
    assert KEY not in json.dumps(found)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", cases({**CURES, **CURABLE_PAIRS}, long={*CURES, *CURABLE_PAIRS} - {*QUICK}))
def test_with_the_line_pasted_a_load_is_exact(case: Case, tmp_path: Path) -> None:
    with SampleApi(case.world()) as api:
        loading = case.loading(api, tmp_path, *(fix for fix in case.findings.values() if fix))
        report = loading.run()
        assert report.status == "complete"
        assert report.rows == case.rows
        assert report.answer()["pass"]["verified"] is not False
        looked = check("contacts", loading.settings, loading.module(), loading.clock).answer()
    assert looked["ok"]


CALM = {
    "offset": Case(total=250),
    "one page by offset": Case(rows=99, total=99),
    "a full page by offset": Case(rows=100, total=100),
    "one row": Case(rows=1, total=1),
    "a row is deleted with every page": Case(Behaviour(delete_every=1), total=249),
    "a row is inserted with every page": Case(Behaviour(insert_every=1), total=251),
    "a row moves with every page": Case(Behaviour(move_every=1), total=250),
    "a row is inserted with every page by number": Case(
        Behaviour(style="page_number", insert_every=1), BY_NUMBER, rows=298, total=3
    ),
    "a row is deleted with every page by cursor": Case(
        Behaviour(style="cursor", delete_every=1), {"type": "cursor", "cursor_path": "cursors.next"}, total=249
    ),
    "some requests are refused": Case(
        Behaviour(failures={2: Failure(503), 4: Failure(429), 6: Failure(503), 8: Failure(429)}), total=250
    ),
    "no total, by offset": Case(Behaviour(total=False), findings={"total_missing": None}),
    "pages by number": Case(Behaviour(style="page_number"), BY_NUMBER, total=3),
    "pages by number, from 0": Case(
        Behaviour(style="page_number", first_page=0), BY_NUMBER | {"base_page": 0}, params=FIFTY, total=5
    ),
    "no total, by number": Case(Behaviour(style="page_number", total=False), BY_NUMBER | {"total_path": None}),
    "auto, by number": Case(Behaviour(style="page_number"), "auto", params=FIFTY, total=250),
    "cursor": Case(Behaviour(style="cursor"), {"type": "cursor", "cursor_path": "cursors.next"}, total=250),
    "cursor in the body": Case(
        Behaviour(style="body_cursor"),
        {"type": "cursor", "cursor_path": "cursors.next", "cursor_body_path": "cursor"},
        total=250,
    ),
    "cursor in a header": Case(
        Behaviour(style="header_cursor"), {"type": "header_cursor", "cursor_key": "X-Next-Cursor"}, total=250
    ),
    "links": Case(Behaviour(style="json_link"), {"type": "json_link", "next_url_path": "next"}, total=250),
    "links in a header": Case(Behaviour(style="header_link"), "header_link", total=250),
    "auto": Case(Behaviour(style="json_link"), "auto", total=250),
    "one page": Case(Behaviour(style="single"), "single_page", total=250),
    "one page, in any order": Case(Behaviour(style="single", unstable_order=True), "single_page", total=250),
    "no total, one page": Case(Behaviour(style="single", total=False), "single_page"),
}


@pytest.mark.parametrize("case", cases(CALM, long=LONG))
def test_of_a_calm_api_nothing_is_said_but_what_it_lacks(case: Case, tmp_path: Path) -> None:
    with SampleApi(case.world()) as api:
        found = case.look(api, tmp_path)
    assert {finding["code"]: finding["fix"] for finding in found["findings"]} == case.findings
    assert (found["ok"], found["total"]) == (True, case.total)
    assert len(api.requests) == found["requests"] <= MAX_REQUESTS
    assert len(found["columns"]) >= 15


@pytest.mark.parametrize(
    "case", [pytest.param(HOSTILE[name], id=name) for name in ("two names for one column", "a cap")]
)
def test_columns_are_those_of_the_table(case: Case, tmp_path: Path) -> None:
    with SampleApi(case.world()) as api:
        told = {column["name"] for column in case.look(api, tmp_path)["columns"]}
        case.loading(api, tmp_path).run()
    assert told == {name for name in columns_of(tmp_path / "data", "contacts") if not name.startswith("_")}


def test_below_a_parent_the_rows_are_looked_at_and_no_edges(tmp_path: Path) -> None:
    parent = {
        "name": "conversations",
        "endpoint": {"path": "/v1/conversations", "data_selector": "data", "paginator": BY_OFFSET},
    }
    path = "/v1/conversations/{resources.conversations.id}/parts"
    parts = {"name": "parts", "endpoint": {"path": path, "data_selector": "data", "paginator": BY_OFFSET}}
    with SampleApi(World({"conversations": 300})) as api:
        loading = Loading(tmp_path / "data", lambda: sample_config(api, [parent, parts]), DrivenClock())
        checked = check("parts", loading.settings, loading.module(), loading.clock)
    assert (checked.findings, len(checked.columns)) == ([], 13)
    assert len(api.requests) == checked.requests <= MAX_REQUESTS


def test_a_resource_of_its_own_is_looked_at_too(tmp_path: Path) -> None:
    @dlt.resource(name="own", primary_key="id", write_disposition="merge")
    def own() -> Iterator[list[Row]]:
        yield [{"id": 1, "price": 1}, {"id": 2, "price": 1.5}]

    with SampleApi(World({})) as api:
        loading = Loading(tmp_path / "data", lambda: sample_config(api, [own()]), DrivenClock())
        checked = check("own", loading.settings, loading.module(), loading.clock)
    assert [(finding.code, finding.fix) for finding in checked.findings] == [("number_split", None)]
    assert [column["data_type"] for column in checked.columns] == ["bigint", "double"]


def test_code_of_the_configuration_that_fails_is_told_as_such(tmp_path: Path) -> None:
    case = Case(resource={"processing_steps": [{"map": lambda row: row["no such field"]}]})
    with SampleApi(case.world()) as api, pytest.raises(SettingsError, match="The code that source_config"):
        case.look(api, tmp_path)
