"""The documentation says what is so."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import dlt
import pytest

from loader import shell
from loader.check.findings import LEVELS
from loader.settings import Settings
from tests.deployment import PROJECT, URL
from tests.documents import blocks, commands
from tests.function import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / ".github" / "ISSUE_TEMPLATE").iterdir()),
    *sorted((ROOT / "docs").glob("*.md")),
]
INSIDE_DLT = [
    pytest.param(name, file, test, id=name)
    for name, file, test in re.findall(
        r"^\| `([\w.]+)` \| `([\w/.]+)` \| .* \| `([\w/.]+)` \|$", (ROOT / "docs" / "dlt.md").read_text(), re.MULTILINE
    )
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
DEPLOY_OPTIONS = {
    option
    for case in re.findall(r"^\t\t(--[a-z| -]+)\)", (ROOT / "deploy.sh").read_text(), re.MULTILINE)
    for option in case.split(" | ")
}
MAIN_OPTIONS = set(re.findall(r'"(--[a-z-]+)"', Path(shell.__file__).read_text()))
ORDER = [
    "See it work",
    "How it works",
    "Point it at your API",
    "Deploy",
    "Settings",
    "What it promises, and what not",
    "When something goes wrong",
    "Develop",
    "Clean up",
]


def test_the_readme_is_short_and_in_order() -> None:
    assert len(README.splitlines()) <= 200
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == ORDER


def test_the_readme_opens_with_what_was_measured() -> None:
    opening = README.split("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", opening, re.MULTILINE)
    assert [2 < len(table.splitlines()) <= 8 for table in tables] == [True, True]
    assert all(table in (ROOT / "docs" / "figures.md").read_text() for table in tables)


def test_the_settings_table_is_the_settings() -> None:
    section = README.split("## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)` )?\| (.+) \|$", section, re.MULTILINE)
    assert {name: default for name, default, _ in rows} == {
        field.name.upper(): ""
        if field.default is None
        else f"{field.default:g}"
        if isinstance(field.default, float)
        else field.default
        for field in dataclasses.fields(Settings)
    }


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_commands_are_shell_and_there_is_what_they_call(page: Path) -> None:
    text = page.read_text()
    for block in blocks(text, "sh"):
        subprocess.run(["/bin/sh", "-n"], input=block, text=True, check=True, timeout=10)
    for command in commands(text):
        program, *arguments = re.sub(r" < .*", "", command).removeprefix(".venv/bin/").removeprefix("python ").split()
        match program:
            case "make":
                assert set(arguments) <= TARGETS
            case "main.py":
                shell._options(arguments)  # noqa: SLF001 - ends the process where an option is unknown
            case "./deploy.sh":
                assert {word for word in arguments if word.startswith("--")} <= DEPLOY_OPTIONS
            case "-m":
                assert importlib.util.find_spec(arguments[0])
            case _:
                assert program in ("export", "gcloud", "curl", "cat")


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_an_option_that_is_named_by_itself_is_one(page: Path) -> None:
    named = set(re.findall(r"`(--[a-z-]+)[^`]*`", page.read_text()))
    assert named <= {*DEPLOY_OPTIONS, *MAIN_OPTIONS, "--allow-unauthenticated"}


def test_the_alert_of_the_docs_is_one_and_asks_for_what_is_logged(tmp_path: Path) -> None:
    [block] = blocks((ROOT / "docs" / "logs.md").read_text(), "sh")
    subprocess.run(["/bin/sh", "-e"], input=f"gcloud() {{ :; }}\n{block}", text=True, check=True, cwd=tmp_path)
    [condition] = json.loads((tmp_path / "policy.json").read_text())["conditions"]
    what = condition["conditionMatchedLog"]["filter"]
    field = what.split()[0].removeprefix("jsonPayload.")
    assert f"`{what}`" in README
    assert f'"{field}"' in (ROOT / "tests" / "end_to_end" / "test_log_of_a_run.py").read_text()


def test_the_address_of_the_docs_is_that_of_the_function() -> None:
    [command] = blocks((ROOT / "docs" / "deploy.md").read_text(), "sh")
    assert command.split()[-1] == URL.replace(PROJECT, "my-project")


def test_every_finding_of_a_look_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \| (error|note) \|", (ROOT / "docs" / "check.md").read_text(), re.MULTILINE)
    assert dict(explained) == LEVELS


def test_the_first_commands_are_run_and_test() -> None:
    assert [line.split("#")[0].strip() for line in blocks(README, "sh")[0].splitlines()] == ["make run", "make test"]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_a_test_that_is_named_is_there(page: Path) -> None:
    for file, test in re.findall(
        r"\b((?:unit|end_to_end|benchmarks)/\w+(?:/\w+)?\.py)\b(?:::(\w+))?", page.read_text()
    ):
        assert re.search(rf"^def {test or '.*'}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), (file, test)


def test_every_promise_of_the_readme_names_the_test_that_holds_it() -> None:
    _, promised, elsewhere = (ROOT / "docs" / "promises.md").read_text().split(" | held by |\n|---|---|\n")
    section = README.split("## What it promises, and what not\n")[1].split("\n## ")[0].partition("\n- ")[2]
    without_links = re.sub(r" \(\[docs/.*?\)[^)]*\)", "", section)
    rest = " ".join(without_links.replace("\n- ", "\n").split())
    for words in re.findall(r"^\| (.*) \| `", promised, re.MULTILINE):
        between, found, rest = rest.partition(words)
        assert (found, between.strip(" .")) == (words, "")
    assert rest == " webhooks; rotating refresh tokens."
    for words in re.findall(r"^\| (.*) \| `", elsewhere, re.MULTILINE):
        assert words in " ".join(README.split())


@pytest.mark.parametrize(("name", "file", "test"), INSIDE_DLT)
def test_a_name_inside_dlt_is_still_there_and_its_test_too(name: str, file: str, test: str) -> None:
    text = (Path(dlt.__file__).parent / file).read_text()
    for part in name.split("."):
        assert re.search(rf"\b{part}\b", text)
    assert (ROOT / "tests" / test).exists()


def test_the_lowest_dlt_that_is_allowed_is_the_one_that_all_tests_run_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [bounds] = [re.findall(r"[\d.]+", line) for line in project["dependencies"] if line.startswith("dlt[")]
    lowest, below = bounds
    major, minor, _ = lowest.split(".")
    assert dlt.__version__ == lowest
    assert below == f"{major}.{int(minor) + 1}"


def test_private_names_of_dlt_are_all_in_the_table() -> None:
    listed = {str(param.values[0]).rpartition(".")[2] for param in INSIDE_DLT}
    for module in (ROOT / "loader").rglob("*.py"):
        for line in module.read_text().splitlines():
            if "see docs/dlt.md" in line:
                names = set(re.findall(r"(?<!self)\.(_\w+)", line))
                assert names, line
                assert names <= listed, line


def messages() -> list[Any]:
    table = README.split("## When something goes wrong\n")[1].split("\n## ")[0]
    symptoms = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    rows = re.findall(
        r"^\| (`.*?`(?:, `.*?`)*)[^|]* \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE
    )
    spans = dict.fromkeys(span for row in [*symptoms, *rows] for span in re.findall(r"`(.*?)`", row))
    return [pytest.param(span, id=span) for span in spans]


@pytest.mark.parametrize("message", messages())
def test_each_message_of_the_troubleshooting_page_is_provoked_by_a_test(message: str) -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    # what differs from one to the other is written as `...`, or as a status like 5xx; a reason of BigQuery's is enough
    parts = re.findall(r"\((\w+)\)", message) or re.split(r"\.\.\.|projects/|\b5xx\b", message)
    assert [part for part in parts if part.strip() not in tests] == []
