"""One field, one column, through whole runs: numbers, names, types; and what is told of them."""

import json
import logging
import random
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from loader.answers import answered
from loader.destination.bucket import Bucket
from loader.errors import SettingsError
from loader.fields import ADDED
from loader.report import Report
from tests.end_to_end.support.given import NAME, Given, GivenRows, generated, numbered, wrong_sums
from tests.end_to_end.support.tables import columns_of, rows_of
from tests.function import ROOT
from tests.sample_api import Row

CHUNKS = [pytest.param(False, id="in one chunk"), pytest.param(True, id="a chunk a row", marks=pytest.mark.long)]
DISPOSITIONS = ["merge", *(pytest.param(name, marks=pytest.mark.long) for name in ("append", "replace"))]


@pytest.fixture
def api() -> Iterator[GivenRows]:
    with GivenRows() as server:
        yield server


@pytest.fixture
def given(api: GivenRows, tmp_path: Path) -> Given:
    return Given(api, tmp_path)


@pytest.fixture
def chunk_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "chunk_bytes", 1)


def load(given: Given, *fields: Mapping[str, Any]) -> Report:
    """Let the API have these rows, and load them."""
    given.api.rows = numbered(*fields)
    return given.loading.until_complete(NAME)[-1]


def verdict(report: Report) -> tuple[bool | None, bool | None]:
    """Give `verified`, and the check of the columns behind it."""
    assert report.current_pass is not None
    return report.current_pass["verified"], report.current_pass["checks"]["columns"]


def table(given: Given) -> dict[str, str]:
    """Give the columns that are the API's, with Delta's types."""
    columns = columns_of(given.bucket, NAME).items()
    return {name: kind for name, (kind, _) in columns if not name.startswith(ADDED)}


def values(given: Given, column: str) -> list[Any]:
    return [row[column] for row in sorted(rows_of(given.bucket, NAME), key=lambda row: row["id"])]


def told(report: Report, change: str) -> list[dict[str, Any]]:
    return [each for each in report.schema_changes if each["change"] == change]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([{"price": 10}, {"price": 10.5}], id="whole numbers first"),
        pytest.param([{"price": 10.5}, {"price": 10}], id="others first"),
        pytest.param([{"price": 10.0}, {"price": 10}, {"price": 0.25}, {"price": None}], id="in any order"),
    ],
)
@pytest.mark.parametrize("disposition", DISPOSITIONS)
def test_a_number_has_one_column(given: Given, rows: list[Row], disposition: str) -> None:
    given.hints["write_disposition"] = disposition
    report = load(given, *rows)
    assert verdict(report) == (True, True)
    assert table(given) == {"id": "long", "price": "double"}
    assert values(given, "price") == [row["price"] for row in rows]


@pytest.mark.parametrize("disposition", DISPOSITIONS)
def test_a_number_has_one_column_over_runs(given: Given, disposition: str) -> None:
    given.hints["write_disposition"] = disposition
    load(given, {"price": 10}, {"price": 11})
    assert table(given) == {"id": "long", "price": "long"}
    report = load(given, {"price": 10}, {"price": 10.5})
    assert verdict(report) == (True, True)
    assert [(each["column"], each["data_type"]) for each in told(report, "widened")] == [("price", "double")]
    assert table(given) == {"id": "long", "price": "double"}
    assert sum(values(given, "price")) == 20.5 + 21 * (disposition == "append")


@pytest.mark.usefixtures("chunk_a_page")
def test_a_number_has_one_column_over_chunks_and_in_objects(given: Given) -> None:
    given.limit = 1
    report = load(given, {"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 2.5}}, {"a": {"b": 3}})
    assert (report.chunks > 3, verdict(report)) == (True, (True, True))
    assert values(given, "a__b") == [1, 2, 2.5, 3]


def test_a_key_stays_what_it_is_when_a_column_is_widened(given: Given) -> None:
    load(given, {"price": 10})
    before = columns_of(given.bucket, NAME)["id"]
    load(given, {"price": 10.5})
    assert columns_of(given.bucket, NAME)["id"] == before


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        pytest.param([{"p": 7}, {"p": "007"}], {"p": "long", "p__v_text": "string"}, id="text that looks like one"),
        pytest.param(
            [{"p": 2**53 + 1}, {"p": 0.5}], {"p": "long", "p__v_double": "double"}, id="whole numbers beyond 2^53"
        ),
        pytest.param(
            [{"p": 0.5}, {"p": 2**53 + 1}],
            {"p": "double", "p__v_bigint": "long"},
            id="the same, the other way round",
            marks=pytest.mark.long,
        ),
        pytest.param(
            [{"p": True}, {"p": 5}],
            {"p": "boolean", "p__v_bigint": "long"},
            id="a number is no truth",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_no_column_holds_is_kept_and_told_until_it_is_cured(
    given: Given, rows: list[Row], columns: dict[str, str]
) -> None:
    for number in range(2):
        report = load(given, *rows)
        assert verdict(report) == (False, False), number
        (split,) = told(report, "split")
    assert table(given) == {"id": "long", **columns}
    first, second = (values(given, column) for column in columns)
    assert [one if one is not None else other for one, other in zip(first, second, strict=True)] == [
        row["p"] for row in rows
    ]
    assert [row["verified"] for row in rows_of(given.bucket, "loader_passes")] == [False, False]
    given.put(split)
    if split["then"].startswith("remove the table"):
        shutil.rmtree(given.bucket / "analytics" / NAME)
    assert split["then"].endswith("python main.py things --restart")
    cured = given.loading.run(NAME, restart=True)
    assert verdict(cured) == (True, True)
    if "text" in split["fix"]:
        assert values(given, "p") == [str(row["p"]) for row in rows]
    else:
        assert values(given, "p") == [Decimal(str(row["p"])) for row in rows]


def test_a_table_with_whole_numbers_beyond_2_to_the_53_is_not_widened(given: Given) -> None:
    load(given, {"p": 2**53 + 1}, {"p": 1})
    report = load(given, {"p": 2**53 + 1}, {"p": 0.5})
    assert (verdict(report), values(given, "p")) == ((False, False), [2**53 + 1, None])
    given.put(told(report, "split")[0])
    assert verdict(given.loading.run(NAME, restart=True)) == (True, True)
    assert values(given, "p") == [2**53 + 1, Decimal("0.5")]


@pytest.mark.parametrize(
    ("rows", "hints"),
    [
        pytest.param([{"p": 2**64}, {"p": 0.1234567890123}], {}, id="behind the point of what dlt makes of integers"),
        pytest.param([{"p": 2**53 + 1}, {"p": 1.2345678901234567e-5}], {}, id="behind the point of the cure"),
        pytest.param([{"p": 2**53 + 1}, {"p": 0.5}, {"p": 10**25}], {}, id="before the point of the cure"),
        pytest.param(
            [{"p": 1.5}, {"p": "1.555"}, {"p": 7}],
            {"columns": {"p": {"data_type": "decimal", "precision": 10, "scale": 2}}},
            id="of one that is configured",
        ),
    ],
)
def test_more_digits_than_a_decimal_column_has_are_kept_and_a_line_cures_it(
    given: Given, rows: list[Row], hints: Row
) -> None:
    given.hints.update(hints)
    report = load(given, *rows)
    assert verdict(report) == (False, False)
    for _ in range(2):
        if verdict(report)[1]:
            break
        parts = [[row[name] for name in row if name.startswith("p")] for row in rows_of(given.bucket, NAME)]
        assert sorted(Decimal(str(value)) for row in parts for value in row if value is not None) == sorted(
            Decimal(str(row["p"])) for row in rows
        )
        split = told(report, "split")[0]
        given.hints.setdefault("columns", {}).pop("p", None)
        given.put(split)
        if split["then"].startswith("remove the table"):
            shutil.rmtree(given.bucket / "analytics" / NAME)
        report = given.loading.run(NAME, restart=True)
    assert verdict(report) == (True, True)
    assert [Decimal(value) for value in values(given, "p")] == [Decimal(str(row["p"])) for row in rows]


MOMENT = "2026-11-24T12:00:00Z"


@pytest.mark.parametrize("value", [7, 1_700_000_000.5, "007", "2026"])
def test_a_number_is_no_moment_in_a_column_that_was_found_to_be_of_moments(given: Given, value: Any) -> None:
    report = load(given, {"at": MOMENT}, {"at": value})
    assert verdict(report) == (False, False)
    (split,) = told(report, "split")
    assert values(given, split["variant"]) == [None, value]


@pytest.mark.parametrize(
    "hints",
    [
        {"columns": {"At": {"data_type": "timestamp"}}},
        {"columns": [{"name": "At", "data_type": "timestamp"}], "nested_hints": {"none": {"columns": {}}}},
    ],
)
def test_a_number_is_a_moment_where_that_is_configured(given: Given, hints: Row) -> None:
    given.hints.update(hints)
    report = load(given, {"At": MOMENT}, {"At": 1_700_000_000}, {"At": "1700000000"}, {"At": None})
    assert verdict(report) == (True, True)
    first, second, third, last = values(given, "at")
    assert (first.isoformat(), second.timestamp(), third, last) == (
        "2026-11-24T12:00:00+00:00",
        1_700_000_000,
        second,
        None,
    )


def test_integers_beyond_64_bits_keep_their_value(given: Given) -> None:
    big: list[int] = [7, 2**63, 2**64, -(2**64)]
    rows: list[Row] = [{"p": value, "q": 10**40, "r": [value]} for value in big]
    report = load(given, *rows)
    assert verdict(report) == (True, True)
    assert [int(value) for value in values(given, "p")] == big
    assert values(given, "q") == [str(10**40)] * 4
    assert [json.loads(value) for value in values(given, "r")] == [[value] for value in big]


@pytest.mark.parametrize("rows_apart", CHUNKS)
def test_names_that_collide_have_columns_of_their_own_the_same_in_every_run(
    given: Given, monkeypatch: pytest.MonkeyPatch, *, rows_apart: bool
) -> None:
    if rows_apart:
        monkeypatch.setattr(Bucket, "chunk_bytes", 1)
        given.limit = 1
    rows: list[Row] = [
        {"userId": 1, "user_id": 1001, "a": {"Id": 5, "id": 6}},
        {"user_id": 1002, "userId": 2},
        {"userId": 3},
    ]
    report = load(given, *rows)
    assert verdict(report) == (True, True)
    fields = {each["field"]: each["column"] for each in report.schema_changes if each["change"] == "renamed"}
    assert fields.keys() == {"userId", "a.Id"}
    for _ in range(2):
        assert values(given, fields["userId"]) == [1, 2, 3]
        assert values(given, "user_id") == [1001, 1002, None]
        assert values(given, fields["a.Id"]) == [5, None, None]
        assert values(given, "a__id") == [6, None, None]
        given.loading.run(NAME, restart=True)


def test_a_field_keeps_the_column_that_it_has_when_another_of_its_name_comes(given: Given) -> None:
    load(given, {"userId": 1})
    report = load(given, {"userId": 2}, {"user_id": 1001})
    (renamed,) = told(report, "renamed")
    assert renamed["field"] == "user_id"
    assert (values(given, "user_id"), values(given, renamed["column"])) == ([2, None], [None, 1001])
    assert not load(given, {"userId": 3}, {"user_id": 1002}).schema_changes
    assert (values(given, "user_id"), values(given, renamed["column"])) == ([3, None], [None, 1002])


def test_a_name_is_remembered_where_the_package_splits_a_field_too(given: Given) -> None:
    given.hints["write_disposition"] = "append"
    report = load(given, {"userId": 1, "user_id": 1001, "p": 7}, {"p": "007"})
    assert verdict(report) == (False, False)
    (renamed,) = told(report, "renamed")
    load(given, {"userId": 2})
    assert {row[renamed["column"]] for row in rows_of(given.bucket, NAME)} == {None, 1, 2}


def test_the_key_keeps_its_column(given: Given) -> None:
    given.hints["primary_key"] = "ID"
    given.api.rows = [{"ID": 1, "id": "a"}, {"ID": 2, "id": "a"}]
    report = given.loading.run(NAME)
    (renamed,) = told(report, "renamed")
    assert [(row["id"], row[renamed["column"]]) for row in rows_of(given.bucket, NAME)] == [(1, "a"), (2, "a")]


TAKEN: Row = {
    "_dlt_id": 11,
    "_dltLoadId": 12,
    "_loader_row_hash": 13,
    "_loader_sequence": 14,
    "_loaderOrigin": 15,
    "_deleted_at": 16,
}


@pytest.mark.parametrize("disposition", DISPOSITIONS)
@pytest.mark.parametrize("deleted_rows", ["keep", pytest.param("mark", marks=pytest.mark.long)])
def test_a_field_that_is_called_like_what_dlt_or_the_loader_adds_gets_another_name(
    given: Given, disposition: str, deleted_rows: str
) -> None:
    given.hints["write_disposition"] = disposition
    given.api.rows = numbered(TAKEN, TAKEN)
    loading = given.loading
    loading.deleted_rows = deleted_rows
    report = loading.run(NAME)
    assert verdict(report) == (True, True)
    fields = {each["field"]: each["column"] for each in told(report, "renamed")}
    assert fields.keys() == TAKEN.keys()
    given.api.rows = numbered(TAKEN, TAKEN, TAKEN)
    again = loading.run(NAME)
    assert (verdict(again), again.schema_changes) == ((True, True), [])
    for field, value in TAKEN.items():
        assert set(values(given, fields[field])) == {value}
    kept = rows_of(given.bucket, NAME)
    assert len({row["_dlt_id"] for row in kept}) == len(kept) == 3 + 2 * (disposition == "append")
    assert {row.get("_deleted_at") for row in kept} == {None}


@pytest.mark.parametrize("is_late", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_field_that_is_called_like_a_variant_keeps_its_values_beside_it(given: Given, *, is_late: bool) -> None:
    rows: list[Row] = [{"p": 7, "p__v_text": "a"}, {"p": "seven", "p__v_text": "b"}]
    (renamed,) = told(load(given, *rows[: 1 if is_late else 2]), "renamed")
    report = load(given, *rows)
    assert verdict(report) == (False, False)
    assert (values(given, "p"), values(given, "p__v_text")) == ([7, None], [None, "seven"])
    assert values(given, renamed["column"]) == ["a", "b"]


@pytest.mark.parametrize("name", ["__", pytest.param("____", marks=pytest.mark.long)])
def test_a_name_that_nothing_is_left_of_has_a_column(given: Given, name: str) -> None:
    report = load(given, {name: 1, "": 2, "a": {name: 3, "b": 4}}, {"____b": 5, "b": 6})
    assert verdict(report) == (True, True)
    assert values(given, "_empty") == [2, None]
    (column,) = (each["column"] for each in told(report, "renamed") if each["field"] == name)
    assert values(given, column) == [1, None]
    assert (values(given, "a___empty"), values(given, "a__b")) == ([3, None], [4, None])
    assert sorted(value for row in rows_of(given.bucket, NAME) for value in row.values() if value in (5, 6)) == [5, 6]


LONG = "string"
MANY = {f"field_{number}": number for number in range(300)}

DRIFT = [
    pytest.param({"a": 1}, {"a": 1, "b": "x"}, {}, {"a": "long"}, {"a": "long", "b": "string"}, ["added"], id="new"),
    pytest.param(
        {"a": 1}, {"a": "x"}, {}, {"a": "long"}, {"a": "long", "a__v_text": "string"}, ["split"], id="number to text"
    ),
    pytest.param({"a": "x"}, {"a": 1}, {}, {"a": "string"}, {"a": "string"}, [], id="text to number"),
    pytest.param({"a": None}, {"a": {"b": 1}}, {}, {}, {"a__b": "long"}, ["added"], id="null to object"),
    pytest.param(
        {"a": 1}, {"a": {"b": 1}}, {}, {"a": "long"}, {"a": "long", "a__b": "long"}, ["added"], id="scalar to object"
    ),
    pytest.param({"a": [1]}, {"a": 2}, {}, {"a": "string"}, {"a": "string"}, [], id="list to scalar"),
    pytest.param(
        {}, MANY, {}, {}, dict.fromkeys(MANY, "long"), ["added"] * 300, id="300 columns"
    ),
    pytest.param(
        {"Größe": 1}, {"Größe": 1, "日本": 2, "東京": 3}, {}, {"gr_e": "long"},
        {"gr_e": "long", "x": "long", "x_6e6037": "long"}, ["added", "added", "renamed"], id="Unicode"
    ),
    pytest.param(
        {"a": 1}, {"": 2, " ": 3}, {}, {"a": "long"}, {"a": "long", "_empty": "long", "_empty_68675c": "long"},
        ["added", "added", "renamed"], id="empty names"
    ),
    pytest.param(
        {"a": 1}, {"a": 2, "b": 3}, {"schema_contract": {"columns": "discard_value"}}, {"a": "long"}, {"a": "long"},
        ["discarded"], id="a contract that discards new columns"
    ),
    pytest.param(
        {"a": 1}, {"a": 2.5}, {"schema_contract": {"data_type": "discard_value"}}, {"a": "long"}, {"a": "long"},
        ["discarded"], id="a contract that discards other types"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "hints", "first", "then", "changes"), DRIFT)
def test_drift_is_loaded_as_the_contract_has_it_and_told_once(
    given: Given, before: Row, after: Row, hints: Row, first: Row, then: Row, changes: list[str]
) -> None:
    given.hints.update(hints)
    load(given, before, before)
    api_columns = {name: kind for name, kind in table(given).items() if name != "id"}
    assert api_columns == first
    report = load(given, before, after)
    assert {name: kind for name, kind in table(given).items() if name != "id"} == then
    assert sorted(each["change"] for each in report.schema_changes) == changes


@pytest.mark.parametrize(
    ("contract", "then", "found"),
    [
        pytest.param({"columns": "freeze"}, {"a": 1, "b": 2}, "column b: columns is freeze", id="a new column"),
        pytest.param(
            "freeze", {"a": 1, "b": 2}, "column b: columns is freeze", id="all is frozen", marks=pytest.mark.long
        ),
        pytest.param(
            {"data_type": "freeze"},
            {"a": 1.5},
            "column a__v_double: data_type is freeze",
            id="a number",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"data_type": "freeze"},
            {"a": "x"},
            "column a__v_text: data_type is freeze",
            id="another type",
            marks=pytest.mark.long,
        ),
    ],
)
@pytest.mark.usefixtures("chunk_a_page")
def test_what_a_contract_freezes_ends_the_run_and_says_what_lets_it_in(
    given: Given, contract: Any, then: Row, found: str
) -> None:
    given.limit = 2
    load(given, {"a": 1})
    given.hints["schema_contract"] = contract
    rows: list[Row] = [{"a": 7}, {"a": 8}, {"a": 9}, then]
    with pytest.raises(SettingsError, match=f"{found}.*the place stays.*for one run") as raised:
        load(given, *rows)
    assert "discard_value" in str(raised.value)
    assert values(given, "a") == [7, 8, 9]
    given.hints["schema_contract"] = "evolve"
    report = load(given, *rows)
    assert report.current_pass is not None
    assert (report.status, report.current_pass["rows"]) == ("complete", 4)
    assert [each["id"] for each in rows_of(given.bucket, NAME)] == [1, 2, 3, 4]
    given.hints["schema_contract"] = contract
    assert load(given, *rows).status == "complete"


def test_what_the_loader_adds_is_no_business_of_a_contract(given: Given) -> None:
    given.hints["write_disposition"] = "append"
    load(given, {"a": 1})
    given.hints.update(write_disposition="merge", schema_contract="freeze")
    loading = given.loading
    loading.deleted_rows = "mark"
    assert verdict(loading.run(NAME)) == (True, True)
    assert loading.run(NAME).rows == 0


@pytest.mark.parametrize(
    ("contract", "after", "rows", "column"),
    [
        pytest.param({"columns": "discard_value"}, {"a": 2, "b": 3}, 2, "b", id="values of a new column"),
        pytest.param(
            {"columns": "discard_row"}, {"a": 2, "b": 3}, 1, "b", id="rows with a new column", marks=pytest.mark.long
        ),
        pytest.param(
            {"data_type": "discard_value"},
            {"a": 2.5},
            2,
            "a__v_double",
            id="values of another type",
            marks=pytest.mark.long,
        ),
        pytest.param({"data_type": "discard_row"}, {"a": "x"}, 1, "a__v_text", id="rows with another type"),
    ],
)
def test_what_a_contract_discards_is_told_once_and_comes_when_it_is_lifted(
    given: Given, contract: Any, after: Row, rows: int, column: str
) -> None:
    load(given, {"a": 0}, {"a": 0})
    given.hints["schema_contract"] = contract
    report = load(given, {"a": 1}, after)
    assert report.schema_changes == [{"table": NAME, "column": column, "data_type": None, "change": "discarded"}]
    # what is left out on purpose is not lost, but it is not counted as loaded
    assert (report.rows, report.current_pass and report.current_pass["rows"], verdict(report)) == (
        rows,
        2,
        (True, True),
    )
    assert values(given, "a") == [1, {2: after["a"] if "b" in after else None, 1: 0}[rows]]
    assert load(given, {"a": 1}, after).schema_changes == []
    del given.hints["schema_contract"]
    load(given, {"a": 1}, after)
    (last,) = (row for row in rows_of(given.bucket, NAME) if row["id"] == 2)
    assert set(after.values()) <= set(last.values())


PRECISE = "2026-11-24T12:00:00.123456789Z"


@pytest.mark.parametrize(
    "hints", [{}, pytest.param({"columns": {"at": {"data_type": "timestamp"}}}, marks=pytest.mark.long)]
)
def test_a_moment_with_more_digits_than_its_column_has_is_told_once(given: Given, hints: Row) -> None:
    given.hints.update(hints)
    report = load(given, {"at": "2026-11-24T12:00:00.123Z", "note": [1]}, {"at": "2026-11-24T12:00:00.123456000Z"})
    assert not told(report, "cut")
    report = load(given, {"at": PRECISE, "note": [1]}, {"at": PRECISE})
    cut = {"table": NAME, "column": "at", "data_type": "timestamp", "change": "cut"}
    assert (report.schema_changes, verdict(report)) == ([cut], (True, True))
    assert {value.isoformat() for value in values(given, "at")} == {"2026-11-24T12:00:00.123456+00:00"}
    assert not load(given, {"at": PRECISE}, {"at": PRECISE}, {"at": PRECISE}).schema_changes
    given.hints["columns"] = {"at": {"data_type": "text"}}
    shutil.rmtree(given.bucket / "analytics" / NAME)
    given.loading.run(NAME, restart=True)
    assert set(values(given, "at")) == {PRECISE}


def test_changes_are_told_in_the_answer_in_one_line_of_the_log_and_in_the_history(
    given: Given, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "loader")
    load(given, {"a": 1})
    caplog.clear()
    report = load(given, {"a": 2.5, "b": "x", "someName": 1, "some_name": 2})
    kinds = sorted(each["change"] for each in report.answer()["schema_changes"])
    assert kinds == ["added", "added", "added", "renamed", "widened"]
    (line,) = [record.getMessage() for record in caplog.records if "columns:" in record.getMessage()]
    assert "things.a widened (double)" in line
    assert "things.b added (text)" in line
    (row,) = [row for row in rows_of(given.bucket, "loader_passes") if "widened" in row["schema_changes"]]
    assert json.loads(row["schema_changes"]) == report.schema_changes


SECRETS = {"email": "ada@secret.example", "phone": "+49 221 4711"}


@pytest.mark.usefixtures("chunk_a_page")
def test_a_value_that_is_masked_as_the_docs_show_is_in_no_table_state_log_or_file(
    given: Given, caplog: pytest.LogCaptureFixture
) -> None:
    page = (ROOT / "docs" / "columns.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)  # noqa: S102 - our own docs
    caplog.set_level(logging.DEBUG)
    given.hints["processing_steps"] = [{"map": shown["masked"]("pepper")}]
    given.limit = 1
    report = load(given, {**SECRETS, "a": 1, "A": 2}, {**SECRETS, "a": 2.5})
    assert verdict(report)[1] is True
    assert len({row["email"] for row in rows_of(given.bucket, NAME)}) == 1
    everything = [json.dumps(report.answer()), caplog.text, *map(str, rows_of(given.bucket, "_dlt_pipeline_state"))]
    everything += [str(rows_of(given.bucket, table)) for table in (NAME, "loader_passes")]
    files = [path.read_bytes() for path in given.bucket.rglob("*") if path.is_file()]
    for value in SECRETS.values():
        assert not any(value in text for text in everything)
        assert not any(value.encode() in data for data in files)


@pytest.mark.parametrize(
    ("fields", "seed"),
    [(60, 0), pytest.param(500, 1, marks=pytest.mark.long), pytest.param(500, 2, marks=pytest.mark.long)],
)
def test_the_sum_of_each_field_is_that_of_a_column_or_the_printed_line_cures_it(
    given: Given, fields: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = random.Random(seed)  # noqa: S311 - no secret
    given.limit, given.api.rows = 5, generated(chosen, fields, 20)
    killed_at = chosen.randrange(6, 20)

    def step(row: Row) -> Row:
        if row["id"] == killed_at and not kills:
            kills.append(row)
            raise KeyboardInterrupt
        return row

    kills: list[Row] = []
    given.hints["processing_steps"] = [{"map": step}]
    monkeypatch.setattr(Bucket, "chunk_bytes", 1)
    killed = given.loading
    with suppress(BaseException):
        killed.run(NAME)
    reports = [*killed.reports, *given.loading.until_complete(NAME)]
    changes = [each for report in reports for each in report.schema_changes]
    split = {(each["column"]): each for each in changes if each["change"] == "split"}
    assert verdict(reports[-1]) == (not split, not split)
    assert split
    assert not wrong_sums(given, rows_of(given.bucket, NAME), changes, split)
    for each in split.values():
        given.put(each)
    shutil.rmtree(given.bucket / "analytics" / NAME)
    cured = given.loading.run(NAME, restart=True)
    assert verdict(cured) == (True, True)
    assert not wrong_sums(given, rows_of(given.bucket, NAME), changes, {})


def test_a_date_in_a_column_of_numbers_is_told_as_split_and_keeps_no_other_text_out(given: Given) -> None:
    load(given, {"p": 7})
    split = load(given, {"p": 7}, {"p": "2026-11-24T12:00:00Z"})
    assert (told(split, "split")[0]["variant"], verdict(split)) == ("p__v_text", (False, False))
    last = load(given, {"p": 7}, {"p": "2026-11-24T12:00:00Z"}, {"p": "seven"})
    assert (last.status, table(given)) == ("complete", {"id": "long", "p": "long", "p__v_text": "string"})
    assert values(given, "p__v_text") == [None, "2026-11-24T12:00:00Z", "seven"]


def test_a_defect_of_ours_while_normalizing_is_not_said_to_be_the_apis(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.hints["columns"] = {"a": {"nullable": False}}
    body, code = answered(lambda: load(given, {"a": None}).answer())
    assert (body["error"]["type"], code) == ("api", 502)

    def broken(_: Any) -> None:
        raise KeyError("a name that is nowhere")

    monkeypatch.setattr("loader.retyping.splits", broken)
    body, code = answered(lambda: load(given, {"a": 1}).answer())
    assert (body["error"]["type"], code) == ("defect", 500)
    assert not rows_of(given.bucket, NAME)
