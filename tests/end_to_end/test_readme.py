"""Each command of the README is run as it stands there, and what the README shows is what comes.

Some would run themselves, ask the internet or take long: of `make test`, `test-all`, `lock` and `bench` it is seen what
make would do. `make run` is run in `test_show.py`.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from tests.deployment import (
    EVERYWHERE,
    FUNCTION,
    NAME,
    OTHERS,
    PROJECT,
    RUN,
    SECRET,
    Deployment,
    at_a_terminal,
    bindings,
    names,
    stubbed_deployment,
)
from tests.documents import blocks, commands, words
from tests.function import ROOT
from tests.sample_api import RESOURCES, Behaviour, SampleApi, World

KINDS = ("export", ".venv/bin/python main.py", "./deploy.sh", "make", "gcloud secrets", "python -m tests.sample_api")
README = (ROOT / "README.md").read_text()
COMMANDS = commands(README)
ROWS = dict(zip(RESOURCES, (1234, 500, 99, 1, 0), strict=True))
NONSENSE = {
    "conversations": Behaviour(unstable_order=True, sort_param="sort"),
    "contacts": Behaviour(page_cap=50),
    "conversation_parts": Behaviour(total_error=7),
}
"""What the screen of `--check` tells of."""
LOADED = {
    "contacts": ["contacts", "complete", "500"],
    "contacts --restart": ["contacts", "complete", "0"],
    "--status": ["companies", "complete", "0", "yes"],
}
"""Words on the screen, one after the other; the second pass finds its rows unchanged, and writes none."""
MADE = {
    "run": "-m tests.show",
    "test": '-m pytest --numprocesses 2 --dist loadfile -m "not long"',
    "test-all": "-m pytest --numprocesses 2 --dist loadfile -m long",
    "lint": "shellcheck deploy.sh",
    "lock": "pip compile",
    "bench": "-m tests.benchmarks",
}
"""What make would do."""


def of(kind: str) -> list[str]:
    """Give the commands of a kind, in the order of the README."""
    return [command for command in COMMANDS if command.startswith(f"{kind} ")]


def run(command: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_every_command_is_of_a_kind_that_is_run_here() -> None:
    kinds = (
        "export",
        ".venv/bin/python main.py",
        "./deploy.sh",
        "make",
        "gcloud secrets",
        "python -m tests.sample_api",
    )
    assert sorted(command for kind in kinds for command in of(kind)) == sorted(COMMANDS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what is edited and run of a clone, with an environment."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("main.py", "source_config.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "loader", folder / "loader", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def shown(project: Path) -> dict[str, str]:
    """Run what the README has of main.py; give what each printed, by its arguments."""
    outputs = {}
    environment = {"PATH": os.environ["PATH"], "HOME": str(project)}
    with SampleApi(World(ROWS, overrides=NONSENSE), key="the-key") as api:
        settings = "\n".join(of("export")).replace("https://api.example.com", api.url)
        for command in of(".venv/bin/python main.py"):
            arguments = command.partition("main.py ")[2]
            done = run(f"{settings}\n{command}", project, environment)
            assert done.returncode == (1 if arguments == "--check" else 0), done.stdout + done.stderr
            outputs[arguments] = done.stdout
            for resource in NONSENSE:
                api.world.behave(Behaviour(), resource)
    return outputs


def test_what_main_shows_of_a_load(shown: dict[str, str]) -> None:
    assert {*LOADED, "--check", "--json"} == shown.keys()
    for arguments, expected in LOADED.items():
        assert " ".join(expected) in words(shown[arguments]), arguments
    answers = [json.loads(line) for line in shown["--json"].splitlines()]
    assert {answer["resource"]: (answer["status"], answer["pass"]["rows"]) for answer in answers} == {
        name: ("complete", count) for name, count in ROWS.items()
    }


def test_the_screen_of_a_look_is_the_one_in_the_docs_and_the_readme_has_parts_of_it(shown: dict[str, str]) -> None:
    [screen] = blocks((ROOT / "docs" / "check.md").read_text(), "")
    assert words(shown["--check"]) == words(screen)
    [part] = [block for block in blocks(README, "") if "UNSTABLE" in block]
    at = 0
    for piece in re.split(r"\n|\.\.\.", part):
        at = words(screen).index(words(piece), at)


def test_what_was_loaded_is_read_as_the_docs_say(
    project: Path, shown: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown
    monkeypatch.chdir(project)
    reader = QueryBuilder().register("loader_passes", DeltaTable("data/analytics/loader_passes"))
    [query] = re.findall(r"`(SELECT .*?)`", README)
    assert set(pa.table(reader.execute(query)).column("resource").to_pylist()) == set(RESOURCES)
    [code] = blocks((ROOT / "docs" / "bucket.md").read_text(), "python")
    exec(code, {})  # noqa: S102 - as a reader would
    assert sum(count for _, count in ast.literal_eval(capsys.readouterr().out)) == ROWS["contacts"]


@pytest.mark.parametrize("command", [*dict.fromkeys(of("make"))])
def test_what_make_does(command: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    match command.split():
        case [_, "clean"]:
            shutil.copy(ROOT / "Makefile", tmp_path)
            for name in ("data", ".venv", ".venvs", "loader/__pycache__", ".mypy_cache", "tests"):
                (tmp_path / name).mkdir(parents=True)
            assert run(command, tmp_path, environment).returncode == 0
            assert {path.name for path in tmp_path.rglob("*")} == {"Makefile", "loader", "tests"}
        case [_, "help"]:
            listed = {line.split()[1] for line in run(command, ROOT, environment).stdout.splitlines()}
            assert listed >= {*MADE, "clean", "help"}
        case [_, target]:
            done = run(f"{command} --dry-run PYTHON=python PYTHON_313=python", ROOT, environment)
            assert done.returncode == 0, done.stderr
            assert MADE[target] in done.stdout


def test_the_sample_api_tells_its_options() -> None:
    [command] = of("python -m tests.sample_api")
    done = run(command.replace("python", sys.executable, 1), ROOT, {"PATH": os.environ["PATH"]})
    assert done.returncode == 0
    assert "--port" in done.stdout


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with stubbed_deployment(tmp_path, OTHERS) as deployment:
        yield deployment


def test_what_the_deploy_commands_do_one_after_the_other(deployment: Deployment) -> None:
    folder, cloud = deployment.source, deployment.cloud
    (folder / "key.txt").write_text("the-key\n")
    (folder / "new-key.txt").write_text("the-new-key\n")

    def do(command: str) -> str:
        here = command.replace("my-project", PROJECT)
        if "--destroy" in here:
            status, output = at_a_terminal(deployment, f"{NAME}\n".encode(), "--destroy")
            assert here == f"./deploy.sh --project {PROJECT} --destroy"
        else:
            done = run(here, folder, deployment.environment)
            status, output = done.returncode, done.stdout + done.stderr
        assert status == 0, output
        return output

    dry_run, deploy, to_a_bucket, rotate, usage, destroy = of("./deploy.sh")
    before = cloud.state()
    assert "gcloud functions deploy" in do(dry_run)
    assert cloud.state() == before

    do(deploy)
    assert [version["data"] for version in cloud.versions[SECRET]] == ["the-key"]
    assert cloud.resources[FUNCTION]["serviceConfig"]["environmentVariables"]["DESTINATION"] == "bigquery"

    do(rotate)
    assert [version["data"] for version in cloud.versions[SECRET]] == ["the-key", "the-new-key"]
    assert "--rotate-key" in do(usage)

    bind, add = (command.replace("SECRET", f"{NAME}-api-key") for command in of("gcloud secrets"))
    rights = bindings(cloud)
    do(f"{bind.replace('ACCOUNT', RUN)} --project={PROJECT}")
    assert bindings(cloud) == rights
    assert rights[SECRET] == EVERYWHERE[SECRET]
    do(f"{add} --project={PROJECT} < key.txt")
    assert [version["data"] for version in cloud.versions[SECRET]][2:] == ["the-key\n"]

    do(destroy)
    assert [name for name in names(cloud) if NAME in name] == []

    do(to_a_bucket)
    [function] = [described for name, described in cloud.resources.items() if "/functions/" in name]
    assert function["name"].split("/")[3] == "europe-west1"
    variables = function["serviceConfig"]["environmentVariables"]
    assert (variables["BUCKET_URL"], variables["BASE_URL"]) == ("gs://my-bucket", "https://api.example.com")
