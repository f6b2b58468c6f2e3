"""Killed at any moment, the table is exact in the end: at every step in turn, as SQLite does it, not by luck."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from random import Random

import pytest
import requests

from tests.end_to_end.support.function import serving
from tests.end_to_end.support.lives import DIED, SURVIVED, Life, Lives
from tests.end_to_end.support.places import BigQueryPlace, ServerPlace, assert_exact
from tests.end_to_end.support.tables import EXACT, difference
from tests.function import free_port
from tests.local_server import ADDRESS
from tests.sample_api import SampleApi, World

CHUNK_BYTES = 100_000
"""Two pages of rows fill a chunk: 300 rows are two chunks."""


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    with Lives() as all_of_them:
        yield all_of_them


@dataclass
class Sweep:
    """Loads of 300 rows, each of which dies at one step, then another that must make it good."""

    lives: Lives
    api: SampleApi
    folder: Path
    base: Path | None
    """What is there before the load: a folder that is copied for each; None: nothing."""

    @property
    def bucket(self) -> Path:
        return self.folder / "bucket"

    def life(self, hours: int, last_step: int | None = None, notes: Path | None = None) -> Life:
        bucket = str(self.bucket)
        return Life(
            bucket, self.api.url, hours, last_step, str(notes or self.folder / "notes"), chunk_bytes=CHUNK_BYTES
        )

    def reset(self) -> None:
        shutil.rmtree(self.bucket, ignore_errors=True)
        if self.base:
            shutil.copytree(self.base, self.bucket)

    def steps(self) -> list[str]:
        """Load without a kill; give what its steps were."""
        self.reset()
        notes = self.folder / "all-steps"
        assert self.lives.live(self.life(hours=1, notes=notes)) == SURVIVED
        assert difference(self.bucket, self.api.world.snapshot("contacts")) == EXACT
        return notes.read_text().splitlines()

    def die_at(self, step: int) -> None:
        """Die at that step, run again, and compare."""
        self.reset()
        assert self.lives.live(self.life(hours=1, last_step=step)) == DIED
        assert self.lives.live(self.life(hours=2)) == SURVIVED
        assert difference(self.bucket, self.api.world.snapshot("contacts")) == EXACT


@pytest.fixture(params=["into a table", pytest.param("into nothing", marks=pytest.mark.long)])
def sweep(request: pytest.FixtureRequest, tmp_path: Path, lives: Lives) -> Iterator[Sweep]:
    world = World({"contacts": 300})
    with SampleApi(world) as api:
        base = None
        if request.param == "into a table":
            base = tmp_path / "base"
            assert lives.live(Life(str(base), api.url)) == SURVIVED
            for key in range(1, 301, 3):
                world.touch("contacts", key)
            world.insert("contacts", "front")
        yield Sweep(lives, api, tmp_path, base)


def test_a_load_of_two_chunks_that_dies_at_some_steps_is_made_good(sweep: Sweep) -> None:
    steps = sweep.steps()
    worst = [
        # the table has the rows, and the place is not there yet
        _last(steps, "after a delta"),
        # the place is half written, or there and the load is not marked as done
        _last(steps, "_dlt_pipeline_state", "half written"),
        _last(steps, "_dlt_pipeline_state", "os.rename"),
        _last(steps, "_dlt_loads"),
        # the lease is half written
        _first(steps, "_loader_leases/analytics/contacts/0", "half written"),
        # the data set is made, and nothing is in it
        _first(steps, "/analytics/.", "before"),
    ]
    for step in filter(None, worst):
        sweep.die_at(step)


def _first(steps: list[str], *parts: str) -> int | None:
    """Give the number of the first step whose text has all the parts."""
    return next((number for number, what in enumerate(steps, 1) if all(part in what for part in parts)), None)


def _last(steps: list[str], *parts: str) -> int | None:
    """Give the number of the last one."""
    position = _first(steps[::-1], *parts)
    return position and len(steps) + 1 - position


@pytest.mark.long
def test_a_load_of_two_chunks_that_dies_at_any_step_is_made_good(sweep: Sweep) -> None:
    steps = sweep.steps()
    assert len(steps) > 40
    for step in range(1, len(steps) + 1):
        sweep.die_at(step)
    print(f"killed at {len(steps)} steps, each made good: 0 missing, 0 doubled, 0 stale")


@pytest.mark.long
@pytest.mark.parametrize("place", ["cloud_storage", "bigquery"], indirect=True)
def test_a_load_to_a_server_that_is_killed_at_six_moments_is_exact(place: ServerPlace, tmp_path: Path) -> None:
    world = World({"contacts": 300})
    with SampleApi(world) as api:
        for moment in place.moments:
            with serving(api, tmp_path, environment=place.environment, TIMEOUT_SECONDS=120) as function:
                moment.strike(place.front, function.kill)
                with pytest.raises(requests.RequestException):
                    function.load()
            place.front.reset()
            place.end_lease("contacts")
            for key in range(2, 301, 5):
                world.touch("contacts", key, segments=[])
            world.insert("contacts", "front")
        with serving(api, tmp_path, environment=place.environment, TIMEOUT_SECONDS=120) as function:
            # the first may only fold what the dead had read before rows changed
            assert [function.load()["status"] for _ in range(2)] == ["complete"] * 2
    assert_exact(place, world)
    if isinstance(place, BigQueryPlace):
        assert {row["status"] for row in place.rows("_dlt_loads")} == {0}


@pytest.mark.long
def test_a_served_function_that_is_killed_forty_times_loads_every_row_once(tmp_path: Path, lives: Lives) -> None:
    world = World({"contacts": 30_000})
    random = Random(13)  # noqa: S311 - moments, not secrets
    killed = hours = 0
    with SampleApi(world) as api:
        while killed < 40:
            hours += 1
            life = Life(str(tmp_path / "bucket"), api.url, hours, chunk_bytes=500_000, port=free_port())
            process = lives.begin(life)
            asked = len(api.requests)
            answers: Queue[bool] = Queue()
            threading.Thread(target=_ask, args=(life.port, answers), daemon=True).start()
            # a life that only folds what others have read asks for nothing
            while len(api.requests) == asked and answers.empty():
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 1.5))
            lives.kill(process)
            # an answer came where the pass was complete before the kill
            killed += not answers.get(timeout=10)
        assert lives.live(Life(str(tmp_path / "bucket"), api.url, hours + 1)) == SURVIVED
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT
    print(f"killed {killed} times in {hours} lives, {len(api.requests)} requests: exact")


def _ask(port: int | None, answers: Queue[bool]) -> None:
    """Have a resource loaded; tell whether there was an answer."""
    for _ in range(500):
        try:
            requests.post(f"http://{ADDRESS}:{port}/", json={"resource": "contacts"}, timeout=60)
        except requests.ConnectionError as error:
            if "refused" in str(error):
                # it is not listening yet
                time.sleep(0.01)
                continue
            answers.put(item=False)
        else:
            answers.put(item=True)
        return
    raise AssertionError("The function did not start.")
