"""What a look at the API has shown, for a person: a table of the resources, their columns, and what was found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

Answer = Mapping[str, Any]
"""What is answered for a resource, with what more there is to see."""


def parts(answers: Sequence[Answer]) -> Iterator[RenderableType]:
    """Give what is to be printed, from above."""
    if not answers:
        return
    yield _table(answers)
    if any(answer["columns"] for answer in answers):
        yield Text("Columns, as they would be loaded; ?: null or missing in at least one of the rows looked at")
    for answer in answers:
        if answer["columns"]:
            yield Padding(_columns(answer), (0, 0, 0, 2))
    yield from _findings(answers)


def _table(answers: Sequence[Answer]) -> Table:
    numbers = [Column(name, justify="right") for name in ("asked", "received", "total")]
    table = Table(
        "resource", *numbers, "paginator", "order", "key", Column("requests", justify="right"), box=SIMPLE_HEAD
    )
    for answer in answers:
        page, more = answer["page"], answer["more"]
        cells = [_number(page["asked"]), _number(page["received"]), _number(answer["total"]), more["paginator"]]
        order = {True: "stable", False: "UNSTABLE", None: "-"}[more["is_stable"]]
        table.add_row(answer["resource"], *cells, order, more["key"] or "-", str(answer["requests"]))
    return table


def _columns(answer: Answer) -> Text:
    columns = [
        f"{column['name']}:{column['data_type']}{'?' if column['nullable'] else ''}" for column in answer["columns"]
    ]
    return Text.assemble((answer["resource"], "bold"), f" ({answer['more']['rows']} rows): ", ", ".join(columns))


def _findings(answers: Sequence[Answer]) -> Iterator[RenderableType]:
    found: dict[tuple[str, str, str, str | None], list[str]] = {}
    for answer in answers:
        for finding in answer["findings"]:
            what = (finding["level"], finding["code"], finding["message"], finding["fix"])
            found.setdefault(what, []).append(answer["resource"])
    if not found:
        yield Text("Nothing was found that would cost rows.", "green")
    for (level, code, message, fix), resources in found.items():
        whose = "all" if len(resources) == len(answers) > 1 else ", ".join(resources)
        style = "bold red" if level == "error" else "bold yellow"
        yield Text.assemble((f"{level} {code}", style), f" in {whose}: {message}")
        if fix:
            yield Padding(Text(fix, "bold"), (0, 0, 0, 4))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
