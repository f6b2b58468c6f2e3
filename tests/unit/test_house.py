"""Imports go one way, as docs/house.md draws them."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.function import ROOT

DRAWING = re.findall(r"^```\n(.*?)^```$", (ROOT / "docs" / "house.md").read_text(), re.MULTILINE | re.DOTALL)[0]
FLOORS = {
    module: -number for number, line in enumerate(DRAWING.splitlines()) for module in line.split("   ")[0].split()
}
PURE = ["chunk", "fields", "rounds", "schedules", "trail", "verdict", "walk"]


def imported(module: Path) -> set[str]:
    """Give what a module imports, as dotted names; `from a import b` is a.b."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{each.name}" for each in node.names}
    return names


def parts_used(part: str) -> set[str]:
    """Give the parts of the house that one uses; a package is one part."""
    paths = [ROOT / "main.py"] if part == "main" else [ROOT / "loader" / f"{part}.py"]
    if not paths[0].exists():
        paths = sorted((ROOT / "loader" / part).glob("*.py"))
    assert paths, part
    names = {name for path in paths for name in imported(path) if name.startswith("loader.")}
    return {name.split(".")[1] for name in names} - {part}


HOUSE = {
    part: parts_used(part)
    for part in ["main", *(path.stem for path in (ROOT / "loader").iterdir() if not path.name.startswith("__"))]
}


def test_no_two_parts_need_each_other() -> None:
    assert len([*TopologicalSorter(HOUSE).static_order()]) == len(HOUSE)


def test_every_part_is_drawn_once() -> None:
    assert sorted(FLOORS) == sorted(HOUSE)
    assert len(re.findall(r"\w+", "\n".join(line.split("   ")[0] for line in DRAWING.splitlines()))) == len(FLOORS)


@pytest.mark.parametrize("part", sorted(FLOORS))
def test_a_part_uses_only_what_is_drawn_below_or_beside_it(part: str) -> None:
    assert {used for used in HOUSE[part] if FLOORS[used] > FLOORS[part]} == set()


@pytest.mark.parametrize("part", PURE)
def test_the_pure_core_knows_neither_dlt_nor_http(part: str) -> None:
    outside = {name.split(".")[0] for name in imported(ROOT / "loader" / f"{part}.py")}
    assert outside & {"dlt", "requests", "flask", "google", "pyarrow", "deltalake"} == set()
