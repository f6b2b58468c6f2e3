import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import (
    KEY,
    OTHERS,
    SECRET,
    Deployment,
    at_a_terminal,
    stubbed_deployment,
    write_program,
)
from tests.fakes.google_cloud import SERVICES, ApiError


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        pytest.param("a key", "a key", id="without-newline"),
        pytest.param("a key\n", "a key", id="one-newline-dropped"),
        pytest.param("a key\n\n", "a key\n", id="only-one"),
        pytest.param('{"id": "1",\n "secret": "2"}\n', '{"id": "1",\n "secret": "2"}', id="several-lines"),
        pytest.param("  $(x) `y` \\n '\"!% ", "  $(x) `y` \\n '\"!% ", id="special-characters"),
        pytest.param("k" * 60_000, "k" * 60_000, id="long"),
    ],
)
def test_the_key_is_stored_as_it_is_given(deployment: Deployment, given: str, stored: str) -> None:
    deployment.deploy(key=given)
    assert deployment.cloud.versions[SECRET] == [{"state": "ENABLED", "data": stored}]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("", id="nothing"),
        pytest.param("\n", id="a-newline"),
        pytest.param("a\0b", id="zero-byte"),
    ],
)
def test_a_key_that_is_none_is_refused_before_anything_is_made(deployment: Deployment, given: str) -> None:
    run = deployment.run(key=given)
    assert run.status == 1
    assert run.commands == ["services enable"]
    assert "Could not read the API key" in run.messages


def test_a_new_key_is_read_only_when_asked_for(deployment: Deployment) -> None:
    deployment.deploy(key="old")
    deployment.deploy(key="not wanted")
    assert [version["data"] for version in deployment.cloud.versions[SECRET]] == ["old"]

    again = deployment.deploy("--rotate-key", key="new")
    assert [version["data"] for version in deployment.cloud.versions[SECRET]] == ["old", "new"]
    assert again.commands == ["services enable", "secrets versions add", "functions deploy"]


def test_a_secret_without_an_enabled_version_gets_one(deployment: Deployment) -> None:
    deployment.cloud.resources[SECRET] = {"name": SECRET}
    deployment.cloud.versions[SECRET] = [
        {"state": "DISABLED", "data": "old"},
        {"state": "DESTROYED", "data": ""},
    ]
    deployment.deploy(key="new")
    assert deployment.cloud.versions[SECRET][-1] == {"state": "ENABLED", "data": "new"}


def test_a_secret_that_was_there_is_used_as_it_is_and_kept(deployment: Deployment) -> None:
    deployment.cloud.enabled = set(SERVICES)
    deployment.cloud.resources[SECRET] = {"name": SECRET, "labels": {"team": "crm"}}
    deployment.cloud.versions[SECRET] = [{"state": "ENABLED", "data": "theirs"}]
    deployment.cloud.policies[SECRET] = [{"role": "roles/viewer", "members": ["user:a@example.com"]}]
    before = deployment.cloud.state()
    deployment.deploy(key=None)
    deployment.deploy("--destroy", "--yes")
    assert deployment.cloud.state() == before


WRAPPER = """#!/usr/bin/env bash
{{ printf '%s\\n' "$0" "$@"; env; }} >>{log}
exec {program} "$@"
"""


def test_the_key_is_in_no_argument_environment_output_or_file(deployment: Deployment) -> None:
    log = deployment.programs / "children.log"
    environment = os.environ["PATH"].split(":")
    for name in ("mktemp", "rm", "base64", "dirname", "python"):
        found = [deployment.programs / name, *(Path(folder) / name for folder in environment)]
        real = next(path for path in found if path.exists())
        if real.parent == deployment.programs:
            real = real.rename(real.with_suffix(".real"))
        write_program(deployment.programs / name, WRAPPER.format(log=log, program=real))
    deployment.cloud.grants_refused_at_first = 2
    variables = dict.fromkeys(("KEY", "API_KEY", "key", "INPUT"), "of the caller")
    runs = [
        deployment.run("--dry-run", environment=variables),
        deployment.run(environment=variables),
        deployment.run("--rotate-key", environment=variables),
        deployment.run("--destroy", "--yes", environment=variables),
    ]
    assert [run.status for run in runs] == [0, 0, 0, 0]
    assert [run.commands.count("secrets versions add") for run in runs] == [0, 1, 1, 0]

    seen = [log.read_text()]
    for run in runs:
        seen += [run.output, run.messages]
        seen += [f"{call.arguments}{call.environment}" for call in run.calls]
        seen += [call.standard_input for call in run.calls if call.words != "secrets versions add"]
    seen += [path.read_text() for path in deployment.folder.rglob("*") if path.is_file()]
    assert "children" in str(log)
    assert log.read_text().count("main.py") == 3
    assert not [text for text in seen if KEY in text]


def test_no_file_is_left_behind(deployment: Deployment) -> None:
    before = {path for path in deployment.folder.rglob("*") if path.name != "slept"}
    deployment.deploy()
    deployment.stub.fail = lambda call: ApiError(403, "No.") if call.changes else None
    assert deployment.run().status == 1
    assert set(deployment.folder.rglob("*")) == before


def test_at_a_terminal_the_key_is_asked_for_and_stays_unseen(deployment: Deployment) -> None:
    status, shown = at_a_terminal(deployment, f"{KEY}\n".encode())
    assert status == 0
    assert "The API key (it stays unseen): " in shown
    assert KEY not in shown
    assert deployment.cloud.versions[SECRET] == [{"state": "ENABLED", "data": KEY}]
