"""BigQuery: a column of whole numbers becomes wider; what fits no column of the field is loaded beside it, and told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.support.given import NAME, Given, GivenRows, numbered
from tests.end_to_end.support.places import BigQueryPlace


@pytest.fixture
def api() -> Iterator[GivenRows]:
    with GivenRows() as server:
        yield server


def test_a_table_of_whole_numbers_is_widened_and_so_is_its_list(
    api: GivenRows, bigquery: BigQueryPlace, tmp_path: Path
) -> None:
    given = Given(api, tmp_path, bigquery.dataset)
    api.rows = numbered({"price": 10, "sizes": [1]}, {"price": 11, "sizes": [2]})
    given.loading.run(NAME)
    api.rows = numbered({"price": 10, "sizes": [1]}, {"price": 10.5, "sizes": [2, 2.5]})
    report = given.loading.run(NAME)
    print(report.schema_changes, report.current_pass)
    print(bigquery.rows(NAME), bigquery.rows(f"{NAME}__sizes"))
    assert [call.sql for call in bigquery.front.queries if "SET DATA TYPE" in str(call)]
    assert 0
