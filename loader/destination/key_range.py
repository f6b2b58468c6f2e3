"""A range of keys, as SQL: what Delta reads and writes one slice of a table by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

Key = tuple[Any, ...]
"""The values of a row's key columns."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """All keys from `low` on and before `high`, compared column by column."""

    columns: tuple[str, ...]
    """Names of the key columns."""
    low: Key | None = None
    """The first key; None: no bound."""
    high: Key | None = None
    """The first key that is not in it any more; None: no bound."""

    def sql(self) -> str | None:
        """Give the condition that a row is in it; None if every row is."""
        conditions = []
        if self.low is not None:
            conditions.append(_beyond(self.columns, self.low, ">", ">="))
        if self.high is not None:
            conditions.append(_beyond(self.columns, self.high, "<", "<"))
        return " AND ".join(conditions) or None


def quoted(name: str) -> str:
    """Give the name of a column as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _beyond(columns: Sequence[str], key: Key, strictly: str, at_the_end: str) -> str:
    name, value = quoted(columns[0]), literal(key[0])
    if len(columns) == 1:
        return f"{name} {at_the_end} {value}"
    rest = _beyond(columns[1:], key[1:], strictly, at_the_end)
    # what is said twice lets files be passed over by their first column alone
    return f"({name} {strictly}= {value} AND ({name} {strictly} {value} OR ({rest})))"


def literal(value: Any) -> str:
    """Give a value as SQL has it; Delta reads quoted text as the type of the column that it is compared with."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, datetime | date):
        return f"'{value.isoformat()}'"
    if isinstance(value, Decimal):
        return f"'{value:f}'"
    return "'" + str(value).replace("'", "''") + "'"
