"""The same from a shell: what a person and a script get."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader import shell
from tests.clock import DrivenClock
from tests.end_to_end.support import ids_of
from tests.function import ROOT
from tests.sample_api import KEY, RESOURCES, Behaviour, Failure, SampleApi, World

pytestmark = pytest.mark.usefixtures("own_log")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SampleApi]:
    with SampleApi(World({"contacts": 250, "teams": 1})) as server:
        monkeypatch.setenv("API_KEY", KEY)
        monkeypatch.setenv("BASE_URL", server.url)
        monkeypatch.setenv("BUCKET_URL", str(tmp_path / "data"))
        yield server


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_all_resources_are_loaded_and_shown_in_a_table(
    api: SampleApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main([]) == 0
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    found = {name.strip(): (status.strip(), count.strip()) for name, status, count in rows}
    counts = {name: "250" if name == "contacts" else "1" if name == "teams" else "0" for name in RESOURCES}
    assert found == {name: ("complete", count) for name, count in counts.items()}
    assert ids_of(tmp_path / "data", "contacts") == list(range(1, 251))
    assert {request.resource for request in api.requests} == set(RESOURCES)


def test_named_resources_only_are_loaded_and_a_script_gets_json_lines_and_nothing_else(
    api: SampleApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.main(["teams", "contacts", "--json"]) == 0
    captured = capsys.readouterr()
    answers = [(each["resource"], each["status"], each["rows"]) for each in lines(captured.out)]
    assert answers == [("teams", "complete", 1), ("contacts", "complete", 250)]
    assert "chunk 1 committed" in captured.err
    assert {request.resource for request in api.requests} == {"teams", "contacts"}
    assert KEY not in captured.out + captured.err


def test_one_that_fails_keeps_no_other_from_being_loaded(api: SampleApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.world.behave(Behaviour(fail_from=(1, Failure(503))), "teams")
    clock = DrivenClock()
    assert shell.main(["teams", "contacts", "--json"], clock) == 1
    failed, loaded = lines(capsys.readouterr().out)
    assert (failed["status"], failed["error"]["type"], clock.sleeps) == ("failed", "api", [2, 4, 8])
    assert (loaded["status"], loaded["rows"]) == ("complete", 250)


def test_restart_reads_everything_again(api: SampleApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.world.behave(Behaviour(failures={2: Failure(400)}))
    assert shell.main(["contacts", "--json"]) == 1
    assert shell.main(["contacts", "--restart", "--json"]) == 0
    assert lines(capsys.readouterr().out)[1]["pass"]["rows"] == 250
    assert api.offsets("contacts").count(0) >= 2


@pytest.mark.parametrize(
    ("variables", "arguments", "kind", "message"),
    [
        pytest.param({}, ["team"], "request", "There is no resource team", id="unknown_resource"),
        pytest.param({"API_KEY": ""}, ["teams"], "settings", "API_KEY is missing", id="no_key"),
        pytest.param({"DESTINATION": "x"}, ["--status"], "settings", "DESTINATION must be", id="wrong_setting"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_called(
    api: SampleApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    arguments: list[str],
    kind: str,
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert shell.main([*arguments, "--json"]) == 1
    captured = capsys.readouterr()
    [told] = lines(captured.out)
    assert told["error"]["type"] == kind
    assert message in told["error"]["message"]
    assert message in captured.err
    assert api.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "--status"], "--status: not allowed with argument --check"),
        (["teams", "--check", "--restart"], "--restart: not allowed with --check, which loads nothing"),
        (["--status", "--sweep", "--accept-deletes"], "--sweep, --accept-deletes: not allowed with --status"),
        (["--schedules", "teams"], "RESOURCE: not allowed with --schedules"),
    ],
)
def test_what_goes_not_together_is_told_and_nothing_is_done(
    api: SampleApi, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        shell.main(arguments)
    captured = capsys.readouterr()
    assert (captured.out, api.requests) == ("", [])
    assert message in captured.err


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        pytest.param(["--schedules"], [f"{name}\t" for name in RESOURCES], id="schedules"),
        pytest.param(
            ["--schedules", "--json"], [f'{{"resource": "{name}", "cron": "' for name in RESOURCES], id="json"
        ),
        pytest.param(["--status", "--json"], ['{"source": "analytics", "destination": "filesystem", '], id="status"),
    ],
)
def test_without_a_key_a_new_process_tells_names_and_what_is_committed(
    tmp_path: Path, arguments: list[str], shown: list[str]
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "BUCKET_URL": str(tmp_path / "data")}
    command = [sys.executable, "main.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = done.stdout.splitlines()
    assert len(found) == len(shown)
    assert all(line.startswith(start) for line, start in zip(found, shown, strict=True))


ENDING = """
import atexit, gc, runpy, sys
atexit.register(lambda: print(gc.get_freeze_count() > 0))
sys.argv = ["main.py", "--schedules"]
runpy.run_path("main.py", run_name="__main__")
"""


def test_a_shell_ends_without_looking_for_what_could_be_freed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENDING]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "True"


def test_the_status_is_a_table_for_a_person(api: SampleApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.world.behave(Behaviour(failures={2: Failure(400)}), "contacts")
    shell.main(["contacts", "teams", "--json"])
    capsys.readouterr()
    assert shell.main(["--status"]) == 0
    table = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert "paused" in table["contacts"]
    assert "offset" in table["contacts"]
    assert "complete" in table["teams"]
    assert "never" in table["companies"]


def test_status_of_a_resource_shows_its_columns_and_needs_no_key(
    api: SampleApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shell.main(["teams"]) == 0
    asked = len(api.requests)
    monkeypatch.delenv("API_KEY")
    capsys.readouterr()
    assert shell.main(["--status", "teams", "--json"]) == 0
    (answer,) = lines(capsys.readouterr().out)
    (team,) = answer["resources"].values()
    found = {column["name"]: (column["data_type"], column["nullable"]) for column in team["columns"]}
    assert found["id"] == ("bigint", False)
    assert found["lead__name"] == ("text", True)
    assert found["load"] == ("double", True)
    assert not any(name.startswith("_") for name in found)
    assert {column["table"] for column in team["columns"]} == {"teams"}
    assert shell.main(["--status", "teams"]) == 0
    assert "lead__name" in capsys.readouterr().out
    assert shell.main(["--status", "nobody"]) == 1
    assert len(api.requests) == asked
