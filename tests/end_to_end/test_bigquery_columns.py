"""BigQuery: a column of whole numbers becomes wider; what fits no column of the field is loaded beside it, and told."""

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from loader.destination.bigquery import BigQuery
from loader.errors import SettingsError
from tests.end_to_end.support.given import NAME, Given, GivenRows, generated, numbered, wrong_sums
from tests.end_to_end.support.places import BigQueryPlace


@pytest.fixture
def api() -> Iterator[GivenRows]:
    with GivenRows() as server:
        yield server


@pytest.fixture
def given(api: GivenRows, bigquery: BigQueryPlace, tmp_path: Path) -> Given:
    return Given(api, tmp_path, bigquery.dataset)


def values(place: BigQueryPlace, column: str) -> list[Any]:
    return [row[column] for row in sorted(place.rows(NAME), key=lambda row: row["id"])]


def test_a_table_of_whole_numbers_is_widened_and_so_are_those_of_its_lists_and_of_staged_rows(
    given: Given, bigquery: BigQueryPlace
) -> None:
    given.api.rows = numbered({"price": 10, "sizes": [1]}, {"price": 11, "sizes": [2]})
    given.loading.run(NAME)
    first = len(bigquery.front.queries)
    given.api.rows = numbered({"price": 10, "sizes": [1]}, {"price": 10.5, "sizes": [2, 2.5]})
    report = given.loading.run(NAME)
    changes = [(each["table"], each["column"], each["change"]) for each in report.schema_changes]
    assert changes == [(NAME, "price", "widened"), (f"{NAME}__sizes", "value", "widened")]
    statements = {line for call in bigquery.front.queries[first:] for line in call.sql.split(";") if "SET DATA" in line}
    place = f"`test-project`.`{bigquery.dataset}`"
    assert {statement.strip() for statement in statements} == {
        f"ALTER TABLE {place}.`{NAME}` ALTER COLUMN `price` SET DATA TYPE FLOAT64",
        f"ALTER TABLE {place}.`{NAME}__sizes` ALTER COLUMN `value` SET DATA TYPE FLOAT64",
    }
    assert report.current_pass is not None
    assert report.current_pass["checks"]["columns"] is True
    assert bigquery.select(f"SELECT SUM(price) AS s FROM {bigquery.dataset}.{NAME}") == [{"s": 20.5}]  # noqa: S608
    assert sorted(row["value"] for row in bigquery.rows(f"{NAME}__sizes")) == [1.0, 2.0, 2.5]


@pytest.mark.long
def test_what_no_column_holds_is_kept_and_told_until_it_is_cured(given: Given, bigquery: BigQueryPlace) -> None:
    big = 2**53 + 1
    given.api.rows = numbered({"price": big, "code": 7, "sizes": [big, 0.5]}, {"price": 0.5, "code": "007"})
    for _ in range(2):
        report = given.loading.run(NAME)
        assert report.current_pass is not None
        assert report.current_pass["verified"] is False
        split = {each["column"]: each for each in report.schema_changes if each["change"] == "split"}
        assert split.keys() == {"price", "code", "value"}
        assert split["code"]["then"].startswith(f"remove the tables {NAME}, {NAME}__sizes at")
    assert (values(bigquery, "price"), values(bigquery, "price__v_double")) == ([big, None], [None, 0.5])
    assert (values(bigquery, "code"), values(bigquery, "code__v_text")) == ([7, None], [None, "007"])
    assert [row["verified"] for row in bigquery.rows("loader_passes")] == [False, False]

    for each in split.values():
        given.put(each)
    with pytest.raises(SettingsError, match="remove the table"):
        given.loading.run(NAME, restart=True)
    with bigquery.client() as client:
        client.delete_table(f"{bigquery.dataset}.{NAME}")
        client.delete_table(f"{bigquery.dataset}.{NAME}__sizes")
    cured = given.loading.run(NAME, restart=True)
    assert cured.current_pass is not None
    assert cured.current_pass["verified"] is True
    assert sorted(row["value"] for row in bigquery.rows(f"{NAME}__sizes")) == [Decimal("0.5"), Decimal(big)]
    assert ([int(values(bigquery, "price")[0]), float(values(bigquery, "price")[1])]) == [big, 0.5]
    assert values(bigquery, "code") == ["7", "007"]


@pytest.mark.long
def test_whole_numbers_become_decimals_where_the_line_says_so_and_names_of_lists_do_not_collide(
    given: Given, bigquery: BigQueryPlace
) -> None:
    taken = {"_dlt_id": 5, "_dlt_load_id": 6, "_dlt_parent_id": 7}
    given.api.rows = numbered({"price": 2**53 + 1, "tags": [{"Name": 1, "name": 2, **taken}], "Tags": [3], **taken})
    report = given.loading.run(NAME)
    fields = {each["field"]: each["column"] for each in report.schema_changes if each["change"] == "renamed"}
    assert fields.keys() == {"Tags", "tags.Name", *taken, *(f"tags.{name}" for name in taken)}
    (item,) = bigquery.rows(f"{NAME}__tags")
    (row,) = bigquery.rows(NAME)
    for name, value in taken.items():
        assert row[fields[name]] == item[fields[f"tags.{name}"].split("__", 1)[1]] == value
    assert item["_dlt_parent_id"] == row["_dlt_id"]
    assert (item["name"], item[fields["tags.Name"].rsplit("__", 1)[1]]) == (2, 1)
    assert [row["value"] for row in bigquery.rows(f"{NAME}__{fields['Tags']}")] == [3]

    given.hints["columns"] = {"price": {"data_type": "decimal", "precision": 38, "scale": 18}}
    assert given.loading.run(NAME, restart=True).status == "complete"
    alter = f"ALTER TABLE `test-project`.`{bigquery.dataset}`.`{NAME}` ALTER COLUMN `price` SET DATA TYPE BIGNUMERIC"
    assert any(alter in call.sql for call in bigquery.front.queries)
    assert [int(value) for value in values(bigquery, "price")] == [2**53 + 1]


@pytest.mark.long
def test_the_sum_of_each_field_is_that_of_a_column_or_the_printed_line_cures_it(
    given: Given, bigquery: BigQueryPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = random.Random(3)  # noqa: S311 - no secret
    given.limit, given.api.rows = 4, generated(chosen, 40, 8)
    monkeypatch.setattr(BigQuery, "chunk_bytes", 1)
    report = given.loading.until_complete(NAME)[-1]
    split = {each["column"]: each for each in report.schema_changes if each["change"] == "split"}
    assert report.current_pass is not None
    assert split
    assert report.current_pass["verified"] is False
    assert not wrong_sums(given, bigquery.rows(NAME), report.schema_changes, split)
    for each in split.values():
        given.put(each)
    with bigquery.client() as client:
        client.delete_table(f"{bigquery.dataset}.{NAME}")
    cured = given.loading.run(NAME, restart=True)
    assert cured.current_pass is not None
    assert cured.current_pass["verified"] is True
    assert not wrong_sums(given, bigquery.rows(NAME), report.schema_changes, {})


def test_rows_that_a_contract_discards_could_not_be_told_from_such_as_are_gone(given: Given) -> None:
    given.api.rows = numbered({"a": 1})
    given.hints["schema_contract"] = {"columns": "discard_row"}
    loading = given.loading
    loading.deleted_rows = "mark"
    with pytest.raises(SettingsError, match="would be marked as gone"):
        loading.run(NAME)
    loading.deleted_rows = "keep"
    assert loading.run(NAME).status == "complete"
