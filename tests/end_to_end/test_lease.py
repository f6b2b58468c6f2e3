"""One run per resource: exactly one of many takes the lease, and a dead holder blocks nobody for long."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from gcsfs.core import GCSFileSystem
from google.api_core.exceptions import NotFound
from google.oauth2.credentials import Credentials

from loader.clock import SystemClock
from loader.deadline import Deadline
from loader.destination.bigquery_client import BoundedClient
from loader.destination.bigquery_lease import ExpiringTable
from loader.destination.bucket_lease import KEPT, NumberedFiles
from loader.errors import BusyError
from loader.lease import BEYOND_DEADLINE_SECONDS, MAX_SECONDS, Gate, Lease, LeaseStore
from tests.clock import DrivenClock
from tests.end_to_end.support.places import BigQueryPlace, CloudStoragePlace
from tests.fakes.bigquery import PROJECT

Store = Callable[[], LeaseStore]
"""Gives the lease of one resource, as each run would have it."""


@pytest.fixture
def clock() -> DrivenClock:
    # what a torn file is worth is measured by the moment at which it was made
    return DrivenClock(time=time.time())


@pytest.fixture(
    params=["folder", *(pytest.param(name, marks=pytest.mark.long) for name in ("cloud_storage", "bigquery"))]
)
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_lease")
    return found


@pytest.fixture
def folder_lease(tmp_path: Path, clock: DrivenClock) -> Callable[[], NumberedFiles]:
    return lambda: NumberedFiles(LocalFileSystem(), str(tmp_path / "lease"), clock)


@pytest.fixture
def cloud_storage_lease(cloud_storage: CloudStoragePlace, clock: DrivenClock) -> Callable[[], NumberedFiles]:
    files = GCSFileSystem(token="anon", endpoint_url=cloud_storage.front.url, skip_instance_cache=True)
    return lambda: NumberedFiles(files, f"{cloud_storage.url}/lease", clock)


@pytest.fixture
def bigquery_lease(
    bigquery: BigQueryPlace, clock: DrivenClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], ExpiringTable]]:
    advance = clock.advance

    def advance_and_expire(seconds: float) -> None:
        """Do what the server does: it has a clock of its own."""
        advance(seconds)
        name = f"{bigquery.staging}._loader_lease_contacts"
        with suppress(NotFound):
            if client.get_table(name).expires.timestamp() <= clock.time():
                client.delete_table(name)

    monkeypatch.setattr(clock, "advance", advance_and_expire)
    clients: list[Any] = []

    def lease() -> ExpiringTable:
        credentials = Credentials("token")  # type: ignore[no-untyped-call]
        deadline = Deadline.of(540, SystemClock())
        clients.append(BoundedClient(PROJECT, credentials, "US", deadline, lambda _: None))
        return ExpiringTable(clients[-1], f"{PROJECT}.{bigquery.staging}", "contacts")

    with bigquery.client() as client:
        client.create_dataset(bigquery.staging)
        yield lease
    for opened in clients:
        opened.close()


@pytest.mark.parametrize("is_dead", [False, True], ids=["released", "taken over"])
def test_exactly_one_of_twenty_at_once_wins_in_each_of_fifty_rounds(
    store: Store, clock: DrivenClock, *, is_dead: bool
) -> None:
    # the emulator takes its time for a round
    for _ in range(50 if isinstance(store(), NumberedFiles) else 3):
        barrier = threading.Barrier(20)
        winners: list[LeaseStore] = []

        def contend(barrier: threading.Barrier = barrier, winners: list[LeaseStore] = winners) -> None:
            mine = store()
            barrier.wait()
            if mine.take(clock.time() + 60) is not None:
                winners.append(mine)

        threads = [threading.Thread(target=contend) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(winners) == 1
        if is_dead:
            clock.advance(61)
        else:
            winners[0].release()


@pytest.mark.parametrize(
    ("box_seconds", "expires_after"),
    [
        pytest.param(20.0, 20.0 + BEYOND_DEADLINE_SECONDS, id="at its deadline plus 5 s"),
        pytest.param(540.0, MAX_SECONDS, id="within two minutes"),
    ],
)
def test_the_lease_of_a_dead_holder_runs_out(
    store: Store, clock: DrivenClock, box_seconds: float, expires_after: float
) -> None:
    dead = store()
    assert Lease.take(dead, Deadline(clock, clock.monotonic() + box_seconds)) is not None
    clock.advance(expires_after - 0.1)
    assert store().take(clock.time() + 60) is None
    clock.advance(0.2)
    assert store().take(clock.time() + 60) is not None
    assert not dead.is_mine()


def test_a_lease_is_renewed_while_its_run_works_and_never_far_beyond_its_deadline(
    store: Store, clock: DrivenClock
) -> None:
    lease = Lease.take(store(), Deadline(clock, clock.monotonic() + 540.0))
    assert lease
    for _ in range(5):
        clock.advance(100.0)
        lease.note(working=True)
        assert store().take(clock.time() + 60) is None
    clock.advance(45.1)
    assert store().take(clock.time() + 60) is not None


@pytest.mark.parametrize("is_taken", [True, False], ids=["another has it", "it has expired"])
def test_a_run_that_lost_its_lease_commits_nothing(store: Store, clock: DrivenClock, *, is_taken: bool) -> None:
    lease = Lease.take(store(), Deadline(clock, clock.monotonic() + 540.0))
    assert lease
    gate = Gate()
    gate.guard(lease.check)
    gate.pass_through()
    clock.advance(MAX_SECONDS + 1)
    if is_taken:
        assert store().take(clock.time() + 60) is not None
        # however late it is renewed
        with suppress(BusyError):
            lease.note(late=True)
    with pytest.raises(BusyError, match="Another"):
        gate.pass_through()


def test_an_abandoned_run_commits_nothing_and_its_lease_is_left_to_expire(store: Store, clock: DrivenClock) -> None:
    lease = Lease.take(store(), Deadline(clock, clock.monotonic() + 10.0))
    assert lease
    gate = Gate()
    gate.guard(lease.check)
    gate.shut()
    lease.abandon()
    with pytest.raises(BusyError, match="abandoned"):
        gate.pass_through()
    lease.release()
    assert store().take(clock.time() + 60) is None


def test_who_takes_over_reads_what_the_dead_had_noted(store: Store, clock: DrivenClock) -> None:
    lease = Lease.take(store(), Deadline(clock, clock.monotonic() + 540.0))
    assert lease
    lease.note(commit_seconds_left=3.5)
    clock.advance(MAX_SECONDS + 1)
    heir = Lease.take(store(), Deadline(clock, clock.monotonic() + 540.0))
    assert heir
    assert heir.inherited == {"commit_seconds_left": 3.5}


@pytest.mark.parametrize("text", ["", '{"holder": "a', "null", "[1]", "{}", '{"expires_at": "soon"}'])
def test_a_torn_lease_file_holds_for_two_minutes_and_no_longer(
    folder_lease: Callable[[], NumberedFiles], clock: DrivenClock, tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "lease"
    folder.mkdir()
    torn = folder / "000000000007.json"
    torn.write_text(text)
    (folder / ".half.draft").write_text("{")
    ahead = torn.stat().st_mtime - clock.time()
    clock.advance(ahead + MAX_SECONDS - 1)
    assert folder_lease().take(clock.time() + 60) is None
    clock.advance(2)
    taken = folder_lease()
    assert taken.take(clock.time() + 60) == {}
    assert taken.number == "8"


def test_old_numbers_are_cleared_away(
    folder_lease: Callable[[], NumberedFiles], clock: DrivenClock, tmp_path: Path
) -> None:
    for _ in range(3 * KEPT):
        mine = folder_lease()
        assert mine.take(clock.time() + 60) is not None
        mine.release()
    assert len(list((tmp_path / "lease").iterdir())) == KEPT


def test_a_lease_that_cannot_be_given_back_fails_nothing(
    folder_lease: Callable[[], NumberedFiles], clock: DrivenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = folder_lease()
    lease = Lease.take(mine, Deadline(clock, clock.monotonic() + 10.0))
    assert lease

    def fail() -> None:
        raise OSError("The disk is gone.")

    monkeypatch.setattr(mine, "release", fail)
    lease.release()
