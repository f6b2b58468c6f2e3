"""The lease in BigQuery: its table expires by itself, and the script that a dead run began is there for the next."""

import time
from collections.abc import Callable, Iterator

import pytest
from google.oauth2.credentials import Credentials

from loader.clock import SystemClock
from loader.deadline import Deadline
from loader.destination.bigquery_client import BoundedClient
from loader.destination.bigquery_lease import ExpiringTable
from loader.errors import BusyError
from tests.end_to_end.support.places import BigQueryPlace
from tests.fakes.bigquery import PROJECT


@pytest.fixture
def new_lease(bigquery: BigQueryPlace) -> Iterator[Callable[[], ExpiringTable]]:
    """Give what makes leases of one resource, each as a run of its own would."""
    with bigquery.client() as client:
        client.create_dataset(bigquery.staging)
    clients = []

    def lease() -> ExpiringTable:
        credentials = Credentials("token")  # type: ignore[no-untyped-call]
        deadline = Deadline.of(60, SystemClock())
        clients.append(BoundedClient(PROJECT, credentials, "US", deadline, lambda _: None))
        return ExpiringTable(clients[-1], f"{PROJECT}.{bigquery.staging}", "contacts")

    yield lease
    for client in clients:
        client.close()  # type: ignore[no-untyped-call]


def test_a_lease_that_expired_is_taken_with_what_its_holder_wrote_down(
    new_lease: Callable[[], ExpiringTable],
) -> None:
    dead, living, next_one = new_lease(), new_lease(), new_lease()
    assert dead.take(time.time() + 60) == {}
    dead.note_script("loader_1")
    assert living.take(time.time() + 60) is None
    expires_at = time.time() + 1.0
    dead.renew(expires_at, {"commit_seconds_left": 7.0})
    time.sleep(max(expires_at - time.time(), 0.0) + 0.01)
    assert not dead.is_mine()
    assert living.take(time.time() + 60) == {"commit_seconds_left": 7.0}
    assert living.script == "loader_1"
    assert not dead.is_mine()
    with pytest.raises(BusyError):
        dead.renew(time.time() + 60, {})
    dead.release()
    assert living.is_mine()

    # who gives it back has nothing to say, but the script may run on
    living.renew(time.time() + 60, {"commit_seconds_left": 3.0})
    living.release()
    assert not living.is_mine()
    assert next_one.take(time.time() + 60) == {}
    assert next_one.script == "loader_1"
    next_one.release()
