"""What is found: each finding with what it means for the rows, and the line that cures it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from loader.check.paste import Line, written

_ERRORS = (
    *("unauthorized", "not_found", "unreachable", "error_body", "offset_ignored", "order_unstable", "total_wrong"),
    *("first_page", "key_missing", "key_repeated", "destination"),
)
_NOTES = ("total_missing", "page_capped", "number_split", "names_collide", "no_data")

LEVELS = {**dict.fromkeys(_ERRORS, "error"), **dict.fromkeys(_NOTES, "note")}
"""By code: `error` where the load can't be right, `note` where the loader copes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a load would suffer from."""

    code: str
    """As decision 18 of the design has them."""
    message: str
    """What was found, and what it means."""
    line: Line | None = None
    """What to paste; None where it is not a line of source_config.py that cures it."""

    @property
    def level(self) -> str:
        """Tell whether the load can't be right (`error`), or the loader copes (`note`)."""
        return LEVELS[self.code]

    @property
    def fix(self) -> str | None:
        """Give the line as it stands in source_config.py."""
        return written(self.line) if self.line else None


@dataclass(slots=True)
class Checked:
    """What a look at one resource has shown."""

    resource: str
    requests: int = 0
    """Made, retries included."""
    asked: int | None = None
    """Rows asked for in a page; None without a limit."""
    received: int = 0
    """Rows in the first page."""
    total: int | None = None
    """Rows that there are, as the API says."""
    paginator: str = ""
    """Its type, as configured or as dlt has found it."""
    is_stable: bool | None = None
    """Whether the same page came in the same order; None where that was not seen."""
    key: str = ""
    """The fields that tell rows apart."""
    rows: int = 0
    """Rows that the columns were taken from."""
    columns: list[Mapping[str, Any]] = field(default_factory=list)
    """Name, data type and nullability of each column."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_ok(self) -> bool:
        """Whether the resource can be loaded as it is."""
        return not any(finding.level == "error" for finding in self.findings)

    def complete(self, line: Line) -> None:
        """Let lines for the same field be the same: the last one holds what the others cure."""
        self.findings = [
            replace(each, line={**each.line, **{name: line[name] for name in each.line if name in line}})
            if each.line
            else each
            for each in self.findings
        ]

    def answer(self) -> dict[str, Any]:
        """Give it for a script."""
        return {
            "resource": self.resource,
            "ok": self.is_ok,
            "requests": self.requests,
            "page": {"asked": self.asked, "received": self.received},
            "total": self.total,
            "columns": [dict(column) for column in self.columns],
            "findings": [
                {"code": each.code, "level": each.level, "message": each.message, "fix": each.fix}
                for each in self.findings
            ],
        }

    def shown(self) -> dict[str, Any]:
        """Give it for a person: the answer, and what more there is to see."""
        more = {"paginator": self.paginator, "is_stable": self.is_stable, "key": self.key, "rows": self.rows}
        return {**self.answer(), "more": more}
