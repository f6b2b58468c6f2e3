"""A fold that is killed after any of its commits: each key is there once at every moment, and all in the end."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from tests.folding import Folding, read
from tests.unit import fold_to_be_killed
from tests.unit.fold_to_be_killed import KILLED

ROOT = Path(__file__).parents[2]
ROWS = 2_000
CHANGED = range(0, 2_400, 3)
"""Every third row has changed, and 400 rows are new."""


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folding:
    monkeypatch.setattr("loader.destination.fold.SLICE_BYTES", fold_to_be_killed.SLICE_BYTES)
    folding = Folding(tmp_path / "before")
    folding.stage({"id": n, "revision": 1, "text": f"row {n} " * 3} for n in range(ROWS))
    folding.run()
    folding.stage({"id": n, "revision": 2, "text": f"row {n} " * 3} for n in CHANGED)
    return folding


def die(folder: Path, commits: int, how: str) -> int:
    command = [sys.executable, "-m", "tests.unit.fold_to_be_killed", str(folder), str(commits), how]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode


def faults_at_any_moment(folder: Path, first: int) -> list[str]:
    """Look at each version of the table from one on, as readers did at that moment."""
    faults = []
    path = folder / "analytics" / "rows"
    for version in range(first, DeltaTable(path).version() + 1):
        keys = [row["id"] for row in read(DeltaTable(path, version=version), "id")]
        if len(keys) != len(set(keys)):
            faults.append(f"version {version}: keys twice")
        if not set(keys) >= set(range(ROWS)):
            faults.append(f"version {version}: rows missing")
    return faults


def faults_in_the_end(folding: Folding) -> list[str]:
    found = {row["id"]: row["revision"] for row in folding.rows("id, revision")}
    expected = {**dict.fromkeys(range(ROWS), 1), **dict.fromkeys(CHANGED, 2)}
    faults = [] if found == expected else [f"{len(expected.items() - found.items())} rows missing or old"]
    return faults + (["rows are staged still"] if folding.waiting() else [])


def killed_and_resumed(prepared: Folding, folder: Path, commits: int, how: str) -> tuple[int, list[str]]:
    """Kill a fold after so many commits, fold again; give the first's exit code and all that was wrong."""
    shutil.copytree(prepared.folder, folder)
    first = DeltaTable(prepared.target.location).version()
    code = die(folder, commits, how)
    folding = Folding(folder)
    if how != "forget":
        folding.run()
    return code, faults_at_any_moment(folder, first) + faults_in_the_end(folding)


@pytest.mark.parametrize("commits", [1, 2, 4])
def test_killed_after_a_commit_every_key_is_there_once_at_every_moment(
    prepared: Folding, tmp_path: Path, commits: int
) -> None:
    code, faults = killed_and_resumed(prepared, tmp_path / "killed", commits, "right")
    assert code == KILLED
    assert faults == []


@pytest.mark.long
def test_killed_after_each_commit_in_turn(prepared: Folding, tmp_path: Path) -> None:
    commits, code = 0, KILLED
    while code == KILLED:
        commits += 1
        code, faults = killed_and_resumed(prepared, tmp_path / f"killed-{commits}", commits, "right")
        assert faults == []
    assert commits > 4
    print(f"killed after each of {commits - 1} commits: each key once at every moment")


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        pytest.param("delete first", "rows missing", id="a fold that deletes before it appends"),
        pytest.param("clear first", "missing or old", id="a fold that clears the staged rows first"),
        pytest.param("forget", "missing or old", id="a fold that forgets them when resumed"),
    ],
)
def test_a_wrong_fold_would_be_noticed(prepared: Folding, tmp_path: Path, how: str, fault: str) -> None:
    code, faults = killed_and_resumed(prepared, tmp_path / "killed", 1, how)
    assert code == KILLED
    assert fault in " ".join(faults)
