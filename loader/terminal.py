"""What a person at a shell sees: a progress bar, tables, errors; or JSON lines for a script."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from loader.report import Report


class Terminal:
    """Standard output for results, standard error for everything else."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.is_interactive = sys.stderr.isatty() and not as_json
        """Whether a person is looking; then a progress bar is shown."""
        self._errors = Console(stderr=True, highlight=False)
        self._results = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

    @contextmanager
    def progress(self, resource: str) -> Iterator[Callable[[Report], None]]:
        """Show how far a resource is; gives what to call after each page."""
        if not self.is_interactive:
            yield lambda _: None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:20}"),
            BarColumn(),
            TextColumn("{task.fields[rows]:,} rows, {task.fields[pages]:,} pages"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._errors, transient=True) as bar:
            task = bar.add_task(resource, total=None, rows=0, pages=0)
            yield lambda report: bar.update(task, rows=report.rows_read, pages=report.pages_read)

    @contextmanager
    def looking(self, resource: str) -> Iterator[None]:
        """Show which resource is looked at."""
        if not self.is_interactive:
            yield
            return
        with self._errors.status(f"Looking at {resource}"):
            yield

    def results(self, answers: list[dict[str, Any]]) -> None:
        """Show how each resource ended."""
        if self.as_json:
            self._lines(answers)
            return
        table = Table(
            "resource",
            "status",
            *[_number(name) for name in ("rows", "pages", "chunks", "seconds")],
            "verified",
        )
        for answer in answers:
            checked = (answer["pass"] or {}).get("verified")
            numbers = [f"{answer[name]:,}" for name in ("rows", "pages", "chunks")]
            table.add_row(answer["resource"], answer["status"], *numbers, f"{answer['seconds']:.1f}", _word(checked))
        self._results.print(table)
        for answer in answers:
            if answer["reason"]:
                self._results.print(f"{answer['resource']} {answer['status']}: {answer['reason']}", markup=False)

    def status(self, answer: dict[str, Any]) -> None:
        """Show what is committed."""
        if self.as_json:
            self._lines([answer])
            return
        self._results.print(f"{answer['source']}: {answer['destination']}, data set {answer['dataset']}")
        table = Table("resource", "status", "place", _number("rows of the pass"), "verified", "completed at")
        for name, fields in answer["resources"].items():
            place = ", ".join(f"{key} {value}" for key, value in (fields["place"] or {}).items())
            rows = "" if fields["pass_rows"] is None else f"{fields['pass_rows']:,}"
            table.add_row(name, fields["status"], place, rows, _word(fields["verified"]), fields["completed_at"] or "")
        self._results.print(table)
        for name, fields in answer["resources"].items():
            if columns := fields.get("columns"):
                self._columns(name, columns)

    def _columns(self, resource: str, columns: list[dict[str, Any]]) -> None:
        table = Table("table", "column", "type", "may be null", title=resource, title_justify="left")
        for column in columns:
            words = (column["table"], column["name"], column["data_type"] or "-")
            table.add_row(*words, "yes" if column["nullable"] else "no")
        self._results.print(table)

    def checked(self, answers: list[dict[str, Any]]) -> None:
        """Show what a look at each resource has shown."""
        from loader.check import view  # noqa: PLC0415 - a load has no use for it

        if self.as_json:
            self._lines([{name: value for name, value in answer.items() if name != "more"} for answer in answers])
            return
        for part in view.parts([answer for answer in answers if "error" not in answer]):
            self._results.print(part)

    def schedules(self, answer: dict[str, Any]) -> None:
        """Print a cron line per resource, and one per sweep, as deploy.sh reads them."""
        if self.as_json:
            self._lines([{"resource": name, "cron": line} for name, line in answer["runs"].items()])
            self._lines([{"resource": name, "cron": line, "sweep": True} for name, line in answer["sweeps"].items()])
            return
        for name, line in answer["runs"].items():
            sys.stdout.write(f"{name}\t{line}\n")
        for name, line in answer["sweeps"].items():
            sys.stdout.write(f"{name}\t{line}\tsweep\n")

    def error(self, body: dict[str, Any]) -> None:
        """Give an error to a script; a person has it from the log already."""
        if self.as_json:
            self._lines([body])

    @staticmethod
    def _lines(values: list[dict[str, Any]]) -> None:
        for value in values:
            sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def _number(name: str) -> Column:
    return Column(name, justify="right")


def _word(checked: bool | None) -> str:  # noqa: FBT001 - it is the value that is shown
    return {True: "yes", False: "NO", None: "-"}[checked]
