"""What rows and a configuration show by themselves, without an API."""

import re
from types import ModuleType
from typing import Any

import dlt
import pytest
import requests
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator, PageNumberPaginator

from loader import redaction
from loader.check import paste
from loader.check.configuration import look_at_configuration
from loader.check.findings import Checked, Finding
from loader.check.look import Counted, EnoughError, path_of_rows
from loader.check.sample import Table, is_same_order
from loader.errors import SettingsError
from loader.secret import Placeholders
from loader.source import Plan, describe, plan

PAGE = [f"row {number}" for number in range(100)]


def described(*resources: Any, **defaults: Any) -> ModuleType:
    module = ModuleType("source_config")
    config = {"client": {"base_url": "https://x.example.com"}, "resource_defaults": defaults, "resources": [*resources]}
    vars(module).update(
        NAME="shop",
        RETRIES={"status_codes": (503,), "backoff_factor": 1, "max_retries": 1},
        SCHEDULES={"default": "H * * * *"},
        PAGES_IN_FLIGHT=1,
        DELETED_ROWS="keep",
        source_config=lambda: config,
    )
    return module


def planned(resource: dict[str, Any], **defaults: Any) -> Plan:
    return plan(describe(described(resource, **defaults), Placeholders()), resource["name"])


@pytest.mark.parametrize(
    ("after", "is_same"),
    [
        pytest.param(PAGE, True, id="the same"),
        pytest.param(PAGE[3:], True, id="rows have vanished"),
        pytest.param(["new", *PAGE[:-1]], True, id="a row has come to the front"),
        pytest.param([PAGE[50], *PAGE[:50], *PAGE[51:]], True, id="a row has moved to the front"),
        pytest.param(PAGE[::-1], False, id="the other way round"),
        pytest.param(PAGE[1::2] + PAGE[::2], False, id="shuffled"),
        pytest.param([PAGE[place ^ 1] for place in range(100)], False, id="neighbours have changed places"),
        pytest.param([f"other {number}" for number in range(100)], False, id="other rows"),
    ],
)
def test_a_list_that_lives_has_an_order_and_one_that_is_shuffled_has_none(after: list[str], is_same: bool) -> None:  # noqa: FBT001
    assert is_same_order(PAGE, after) is is_same


def test_rows_that_are_equal_say_nothing_of_the_order() -> None:
    assert is_same_order(["a", "a", "b", "c"], ["a", "b", "a", "c"])


def table(rows: list[Any], **hints: Any) -> Table:
    made = Table(dlt.resource(rows, name="things", **hints), DestinationCapabilitiesContext.generic_capabilities())
    made.add(rows)
    return made


def test_columns_are_what_dlt_makes_of_the_rows_and_nulls_are_those_that_were_seen() -> None:
    rows = [
        {"Id": 1, "at": "2024-01-01T00:00:00Z", "who": {"Name": "a"}, "maybe": None, "never": None, "n": 1},
        {"Id": 2, "at": "2024-01-01T00:00:00Z", "who": {"Name": "b"}, "maybe": 1.5, "never": None, "n": 1.5},
    ]
    found = {column["name"]: (column["data_type"], column["nullable"]) for column in table(rows).columns}
    assert found == {
        "id": ("bigint", False),
        "at": ("timestamp", False),
        "who__name": ("text", False),
        "maybe": ("double", True),
        "n": ("double", False),
    }


def test_a_type_that_is_configured_is_the_columns() -> None:
    [column] = table([{"n": 1}, {"n": 1.5}], columns={"n": {"data_type": "double"}}).columns
    assert column == {"name": "n", "data_type": "double", "nullable": False}


@pytest.mark.parametrize(
    ("rows", "key"),
    [
        pytest.param([{"name": "a", "id": 1}, {"name": "b", "id": 2}], ["id"], id="the likeliest name first"),
        pytest.param([{"orderId": 1, "id": 1}, {"orderId": 2, "id": 1}], ["orderId"], id="not one that repeats"),
        pytest.param([{"uuid": None, "code": "x"}, {"uuid": "u", "code": "y"}], ["code"], id="not one that is null"),
        pytest.param([{"id": 0.5}, {"id": 1.5}], [], id="not a measurement"),
        pytest.param(
            [{"order_id": 1, "line": 1}, {"order_id": 1, "line": 2}, {"order_id": 2, "line": 1}],
            ["order_id", "line"],
            id="two fields",
        ),
        pytest.param([{"size": 1}, {"size": 2}], [], id="no name of a key"),
    ],
)
def test_the_likeliest_key_tells_all_rows_apart(rows: list[Any], key: list[str]) -> None:
    assert table(rows).likely_key(list(rows[0])) == key


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param({"meta": {}, "result": {"items": [{"id": 1}]}}, "result.items", id="deeper"),
        pytest.param({"errors": [{"message": "no"}]}, "", id="errors are no rows"),
        pytest.param({"data": [1, 2]}, "", id="numbers are no rows"),
        pytest.param({"data": []}, "", id="an empty list"),
        pytest.param(None, "", id="no JSON"),
    ],
)
def test_rows_are_found_where_there_are_any(body: Any, path: str) -> None:
    assert path_of_rows(body) == path


@pytest.mark.parametrize(
    ("paginator", "line"),
    [
        pytest.param(
            {"type": "offset", "limit": 9, "offset_param": "skip"},
            '"paginator": {"type": "offset", "limit": 5, "offset_param": "skip"},',
            id="settings",
        ),
        pytest.param(
            OffsetPaginator(9, offset_param="skip", total_path=None),
            '"paginator": {"type": "offset", "limit": 5, "offset_param": "skip", "total_path": None},',
            id="an instance",
        ),
        pytest.param(
            PageNumberPaginator(1, page_param="p"),
            '"paginator": {"type": "page_number", "base_page": 1, "page_param": "p", "limit": 5},',
            id="pages by number",
        ),
    ],
)
def test_a_line_keeps_what_it_does_not_change(paginator: Any, line: str) -> None:
    chosen = planned({"name": "things", "endpoint": {"path": "things", "paginator": paginator}})
    assert paste.written(paste.paginator(chosen, limit=5)) == line


def test_a_line_of_parameters_keeps_the_others_but_never_a_secret() -> None:
    redaction.remember(["s3cr3t-parameter"])
    params = {"fields": "all", "token": "s3cr3t-parameter", "since": {"type": "incremental", "cursor_path": "at"}}
    chosen = planned({"name": "things", "endpoint": {"path": "things", "params": params}})
    assert paste.written(paste.params(chosen, sort="id")) == '"params": {"fields": "all", "sort": "id"},'


def test_a_client_may_have_the_paginator_and_the_line_is_for_the_resource() -> None:
    chosen = planned({"name": "things", "endpoint": "things"})
    chosen.config["client"]["paginator"] = {"type": "offset", "limit": 9}
    line = paste.paginator(chosen, limit=5)
    assert paste.inner_paginator(paste.pasted(chosen, line)).limit == 5  # type: ignore[union-attr]


def test_lines_for_the_same_field_become_one() -> None:
    checked = Checked("things", findings=[Finding("page_capped", "", {"paginator": 1}), Finding("no_data", "")])
    checked.complete({"paginator": 2, "params": 3})
    assert [finding.line for finding in checked.findings] == [{"paginator": 2}, None]


@pytest.mark.parametrize(
    ("resource", "defaults", "is_loadable"),
    [
        pytest.param({}, {"write_disposition": "merge"}, False, id="no key"),
        pytest.param({}, {"write_disposition": "merge", "primary_key": "id"}, True, id="a key"),
        pytest.param({"columns": {"id": {"primary_key": True}}}, {"write_disposition": "merge"}, True, id="in columns"),
        pytest.param({"columns": {"id": {}}}, {"write_disposition": "merge"}, False, id="no key in columns"),
        pytest.param({}, {}, True, id="append"),
    ],
)
def test_rows_to_be_merged_need_a_key_and_that_is_seen_without_asking(
    resource: dict[str, Any],
    defaults: dict[str, Any],
    is_loadable: bool,  # noqa: FBT001
) -> None:
    description = describe(described({"name": "things", "endpoint": "things", **resource}, **defaults), Placeholders())
    if is_loadable:
        look_at_configuration(description)
    else:
        with pytest.raises(SettingsError, match=r"things in source_config\.py: rows are to be merged"):
            look_at_configuration(description)


def test_no_more_is_asked_than_may_be_redirects_included(requests_mock: Any) -> None:
    requests_mock.get(re.compile("x.example.com"), status_code=302, headers={"Location": "/again"})
    counted = Counted(requests.Session())
    with pytest.raises(requests.TooManyRedirects):
        counted.get("https://x.example.com/")
    with pytest.raises(EnoughError):
        counted.get("https://x.example.com/")
    assert requests_mock.call_count == counted.sent == 8
