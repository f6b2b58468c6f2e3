"""What rows show: whether a list keeps its order, what its columns will be, and which fields tell its rows apart."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.schema import Schema
from dlt.common.typing import VARIANT_FIELD_FORMAT
from dlt.extract import DltResource
from dlt.normalize.configuration import NormalizeConfiguration
from dlt.normalize.items_normalizers.jsonl import JsonLItemsNormalizer

from loader.fields import ADDED, SEPARATOR
from loader.trail import LEAST_SHARE, longest_increasing

MOVED_SHARE = 20
"""Of so many rows one may have moved from one look to the next: lists live."""

KEY_NAMES = ("id", "uuid", "guid", "key", "_id", "uid", "sid", "gid")
"""Fields that are a key, most likely, the likeliest first."""

SECOND = SEPARATOR + VARIANT_FIELD_FORMAT % "double"
"""What dlt adds to the name of a column for those of its numbers that are not whole."""

KEY_TYPES = frozenset({"text", "bigint", "decimal", "wei"})
"""Of columns that may tell rows apart."""


def is_same_order(before: Sequence[str], after: Sequence[str]) -> bool:
    """Tell whether two looks at the same page show the same list, by the hashes of their rows."""
    before, after = _single(before), _single(after)
    places = {row: place for place, row in enumerate(before)}
    common = [(place, places[row]) for place, row in enumerate(after) if row in places]
    displaced = len(common) - len(longest_increasing(common)) if common else 0
    is_there = len(common) >= LEAST_SHARE * min(len(before), len(after))
    return is_there and displaced <= max(1, len(common) // MOVED_SHARE)


def _single(rows: Sequence[str]) -> list[str]:
    """Leave out rows that can't be told apart."""
    counts = Counter(rows)
    return [row for row in rows if counts[row] == 1]


def is_same_page(one: Sequence[str], other: Sequence[str]) -> bool:
    """Tell whether two pages show the same rows, for the most part."""
    return len({*one} & {*other}) > LEAST_SHARE * min(len({*one}), len({*other})) if one and other else False


class Table:
    """The table that rows would be loaded into, as dlt makes it of them; in memory only."""

    def __init__(self, resource: DltResource, capabilities: DestinationCapabilitiesContext) -> None:
        with Container().injectable_context(capabilities):
            self._schema = Schema("check")
        hints = resource.compute_table_schema()
        self._name = self._schema.naming.normalize_table_identifier(str(hints["name"]))
        # a key that is missing is for us to find
        columns = {name: {**column, "nullable": True} for name, column in hints["columns"].items()}
        self._schema.update_table({"name": self._name, "columns": columns})  # type: ignore[typeddict-item]
        config = NormalizeConfiguration()
        config.destination_capabilities = capabilities
        nowhere: Any = None
        # without its storages: nothing is written
        self._normalizer = JsonLItemsNormalizer(nowhere, nowhere, nowhere, self._schema, "check", config)
        self.rows: list[Mapping[str, Any]] = []
        """The rows, flattened, by their columns' names."""

    def add(self, rows: Iterable[Any]) -> list[Mapping[str, Any]]:
        """Add rows; give them flattened."""
        before = len(self.rows)
        for row in rows:
            # what comes behind the row itself are tables made of its lists
            _, flat = next(self._schema.normalize_data_item(row, "check", self._name))
            typed, changes = self._normalizer._coerce_row(self._name, "", flat)  # noqa: SLF001 - see docs/dlt.md
            if changes:
                self._schema.update_table(changes)
            self.rows.append(typed)
        return self.rows[before:]

    @property
    def columns(self) -> list[Mapping[str, Any]]:
        """Give the columns: name, data type, and whether it is null or missing in one of the rows, at least."""
        columns = self._schema.get_table_columns(self._name)
        # whole numbers and others become one column, of the wider type
        wider = {f"{name}{SECOND}": name for name, column in columns.items() if column["data_type"] == "bigint"}
        split = {wider[name] for name in columns if name in wider}
        filled = Counter(wider.get(name, name) for row in self.rows for name in row)
        return [
            {
                "name": name,
                "data_type": "double" if name in split else column["data_type"],
                "nullable": filled[name] < len(self.rows),
            }
            for name, column in columns.items()
            if not name.startswith(ADDED) and name not in wider
        ]

    def normalized(self, name: str) -> str:
        """Give what dlt makes of a name."""
        return self._schema.naming.normalize_path(name)

    def lacking(self, key: Sequence[str]) -> int:
        """Count the rows that lack a field of the key."""
        return sum(not all(name in row for name in key) for row in self.rows)

    def repeated(self, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int:
        """Count the rows whose key another one has."""
        counts = Counter(tuple(row[name] for name in key) for row in rows if all(name in row for name in key))
        return sum(counts.values()) - len(counts)

    def likely_key(self, fields: Sequence[str]) -> list[str]:
        """Give the fields that tell all rows apart, the likeliest; none if nothing does."""
        types = {column["name"]: column["data_type"] for column in self.columns if not column["nullable"]}
        names = sorted((field for field in fields if types.get(self.normalized(field)) in KEY_TYPES), key=_unlikeliness)
        singles = [[name] for name in names if _unlikeliness(name)[0] < _OTHER]
        pairs = [list(pair) for pair in combinations(names, 2) if _unlikeliness(pair[0])[0] < _OTHER]
        for key in [*singles, *pairs]:
            if not self.repeated([self.normalized(name) for name in key], self.rows):
                return key
        return []


_OTHER = 100


def _unlikeliness(field: str) -> tuple[int, str]:
    name = field.lower()
    if name in KEY_NAMES:
        return KEY_NAMES.index(name), field
    ends = ("_id", "_key", "_uuid", "_guid", "_no", "_number", "_code", "number", "code", "email", "slug", "name")
    place = next((place for place, end in enumerate(ends) if name.endswith(end)), None)
    if place is None and field.endswith("Id"):
        place = 0
    return (_OTHER if place is None else 10 + place), field
