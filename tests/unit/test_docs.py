"""The documentation says what is so."""

import dataclasses
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
from tests.function import ROOT

README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
INSIDE_DLT = [
    pytest.param(name, file, test, id=name)
    for name, file, test in re.findall(
        r"^\| `([\w.]+)` \| `([\w/.]+)` \| .* \| `([\w/.]+)` \|$", (ROOT / "docs" / "dlt.md").read_text(), re.MULTILINE
    )
]
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


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_is_short_and_in_order() -> None:
    assert len(README.splitlines()) <= 200
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == ORDER


def test_the_readme_opens_with_what_was_measured() -> None:
    opening = README.split("\n## ")[0]
    lines = [line for line in opening.splitlines() if line.startswith("|")]
    assert 2 < len(lines) <= 8
    assert "\n".join(lines) in (ROOT / "docs" / "figures.md").read_text()


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


def test_commands_are_shell_and_there_is_what_they_call() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()]
    commands = [line.split("#")[0].split() for line in lines]
    for block in blocks("sh"):
        subprocess.run(["/bin/sh", "-n"], input=block, text=True, check=True, timeout=10)
    for words in commands:
        if words[0] == "make":
            assert set(words[1:]) <= targets
        elif words[0] == ".venv/bin/python":
            assert words[1] == "main.py"
            shell._options(words[2:])  # noqa: SLF001 - ends the process where an option is unknown
        elif words[0] == "./deploy.sh":
            usage = (ROOT / "deploy.sh").read_text()
            assert all(word in usage for word in words[1:] if word.startswith("--"))
        else:
            assert words[0] in ("export", "./deploy.sh")
            assert words[0] == "export" or (ROOT / words[0]).exists()


def test_every_finding_of_a_look_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \| (error|note) \|", (ROOT / "docs" / "check.md").read_text(), re.MULTILINE)
    assert dict(explained) == LEVELS


def test_the_first_commands_are_run_and_test() -> None:
    assert [line.split("#")[0].strip() for line in blocks("sh")[0].splitlines()] == ["make run", "make test"]


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_a_test_that_is_named_is_there(page: Path) -> None:
    for test in re.findall(r"\b(?:unit|end_to_end)/\w+(?:/\w+)?\.py\b", page.read_text()):
        assert (ROOT / "tests" / test).exists(), test


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
    rows = re.findall(
        r"^\| (`.*?`(?:, `.*?`)*)[^|]* \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE
    )
    spans = [span for row in rows for span in re.findall(r"`(.*?)`", row)]
    return [pytest.param(span, id=span) for span in spans]


@pytest.mark.parametrize("message", messages())
def test_each_message_of_the_troubleshooting_page_is_provoked_by_a_test(message: str) -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    # what differs from one to the other is written as `...`, or as a status like 5xx; a reason of BigQuery's is enough
    parts = re.findall(r"\((\w+)\)", message) or re.split(r"\.\.\.|projects/|\b5xx\b", message)
    assert [part for part in parts if part.strip() not in tests] == []
