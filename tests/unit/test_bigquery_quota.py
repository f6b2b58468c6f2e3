"""BigQuery takes 1,500 load jobs a day for a table, and each chunk of each resource is one for the table of states."""

import math

import pytest

from loader.deadline import Deadline
from loader.destination.bigquery import BigQuery
from loader.lease import Gate
from tests.clock import DrivenClock


@pytest.mark.parametrize(
    ("timeout_seconds", "most_resources"),
    [pytest.param(540, 9, id="9 minutes"), pytest.param(1_800, 29, id="deployed")],
)
def test_resources_that_read_around_the_clock_stay_under_the_quota(timeout_seconds: int, most_resources: int) -> None:
    for resources in range(1, most_resources + 1):
        deadline = Deadline.of(timeout_seconds, DrivenClock())
        seconds = BigQuery("analytics", Gate(), deadline).chunk_seconds(resources)
        assert seconds >= 300
        chunks = math.ceil(deadline.left() / seconds - 1e-9)
        assert resources * chunks * 86_400 / deadline.left() <= 1_500
