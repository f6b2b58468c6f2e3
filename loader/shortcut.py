"""A short way through dlt's normalizer, for rows whose every field has its column by now.

dlt asks anew for each value what its column is. Which column a field goes to, and what becomes of a value of some kind
in it, is asked once here; a row with anything new in it goes dlt's own way.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from dlt.common.schema import utils
from dlt.common.time import normalize_timezone
from dlt.normalize.items_normalizers.jsonl import JsonLItemsNormalizer

from loader.exactness import is_finer

ITS_OWN_WAY = {"decimal", "wei", "json"}
"""What becomes a value of these types, in dlt's words, may depend on more than its kind."""

Lossy = tuple[str, str, str]
"""What is not loaded as the API has it, though all is well: table, column and what happens to its values."""

CUT = "cut"
"""What becomes of a moment with more digits than its column has; dlt's own way takes note of the first one."""

Update = dict[str, Any]
"""Changes of a schema, by table."""

Step = tuple[str | None, Callable[[Any], Any] | None, "Level | None"]
"""What becomes of a value: the column that it goes to (None: it is null), how it is changed, and the names of an
object's own fields."""


class Level:
    """What is known of the fields of an object."""

    def __init__(self, path: tuple[str, ...], nesting: int) -> None:
        self.path = path
        """Names of the objects around its fields, as they are in a column's."""
        self.nesting = nesting
        """How many objects deep dlt would still flatten."""
        self.steps: dict[tuple[str, type], Step] = {}


class Shortcut:
    """The short way of the rows of one table, in one package."""

    def __init__(
        self,
        normalizer: JsonLItemsNormalizer,
        table: str,
        own_way: Sequence[str],
        lossy: AbstractSet[tuple[str, str, str]] = frozenset(),
    ) -> None:
        """Begin without knowing anything.

        Args:
            normalizer: dlt's, for the package.
            table: its name, normalized.
            own_way: columns whose values dlt must see.
            lossy: what is noted by now of values that are not loaded as the API has them: table, column, and how.
        """
        names: Any = normalizer.schema.data_item_normalizer
        self._normalizer: Any = normalizer
        self._table = table
        self._lossy = lossy
        self._names = names
        self._top = Level((), names._get_table_nesting_level(table, names.max_nesting))  # noqa: SLF001 - see docs/dlt.md
        self._owners: dict[str | tuple[str, ...], tuple[tuple[str, ...], str]] = {}
        self._of_dlt = (names.c_dlt_id, names.c_dlt_load_id)
        self._own_way = {*own_way, names.c_dlt_load_id}
        self._is_begun = False
        self._keys = {*names._get_primary_key(table)}  # noqa: SLF001 - the same

    def row(self, item: Any) -> dict[str, Any] | None:
        """Give the row as it is to be written; None if it must go dlt's own way."""
        row: dict[str, Any] = {}
        # the first row of a table gives it the columns that are dlt's
        self._is_begun = self._is_begun or all(self._hints(column) for column in self._of_dlt)
        try:
            if not self._is_begun or not isinstance(item, dict) or not _put(item, self._top, row, self._learn):
                return None
        except (ValueError, SyntaxError):
            # it does not fit into its column; dlt makes it another one
            return None
        row[self._names.c_dlt_load_id] = self._normalizer.load_id
        # BigQuery's rows bring theirs
        if not row.get(self._names.c_dlt_id):
            self._names._add_row_id(self._table, item, row, None, None, is_root=True)  # noqa: SLF001 - see docs/dlt.md
        return row

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write rows as dlt does, all at once."""
        if rows:
            normalizer = self._normalizer
            columns = normalizer.schema.get_table_columns(self._table)
            normalizer.item_storage.write_data_item(
                normalizer.load_id, normalizer.schema.name, self._table, rows, columns
            )
            normalizer._report_progress(self._table, len(rows))  # noqa: SLF001 - see docs/dlt.md

    def _learn(self, level: Level, field: str, value: Any) -> Step | None:
        """Find out what becomes of values of this kind in a field; None: nothing that is known in advance."""
        names = self._names
        name = names._normalize_identifier(field) if field and not field.isspace() else names.EMPTY_KEY_IDENTIFIER  # noqa: SLF001 - see docs/dlt.md
        path = (*level.path, name)
        column = names._shorten_fragments(*path) if level.path else name  # noqa: SLF001 - the same
        if type(value) in (dict, list) and not names._is_nested_type(self._table, column, level.nesting):  # noqa: SLF001 - the same
            if type(value) is list or not self._owns(path, level, field):
                return None
            return (None, None, Level(path, level.nesting - 1))
        if column in self._own_way or not self._owns(column, level, field):
            return None
        return self._step(column, value)

    def _owns(self, place: str | tuple[str, ...], level: Level, field: str) -> bool:
        """Tell whether no other field goes to the same place."""
        return self._owners.setdefault(place, (level.path, field)) == (level.path, field)

    def _step(self, column: str, value: Any) -> Step | None:
        normalizer = self._normalizer
        hints = self._hints(column)
        if not hints:
            return None
        if value is None:
            is_left_out = utils.is_nullable_column(hints) and column not in self._keys
            return (None, None, None) if is_left_out else None
        wanted, kind = hints["data_type"], normalizer._type_map.get(type(value))  # noqa: SLF001 - see docs/dlt.md
        if wanted == kind != "timestamp":
            return (column, None, None)
        is_known = normalizer._can_coerce_type(wanted, kind)  # noqa: SLF001 - the same
        if not is_known or wanted in ITS_OWN_WAY or column in self._keys:
            return None
        return (column, self._change(hints, wanted, kind), None)

    def _hints(self, column: str) -> Any:
        """Give what the schema says of a column; nothing where it has no type yet."""
        hints = self._normalizer.schema.tables[self._table]["columns"].get(column, {})
        return hints if utils.is_complete_column(hints) else {}

    def _change(self, hints: Mapping[str, Any], wanted: str, kind: str) -> Callable[[Any], Any]:
        change = partial(self._normalizer._coerce_type, wanted, kind)  # noqa: SLF001 - see docs/dlt.md
        if wanted != "timestamp":
            return change
        override = self._normalizer._timezone_override  # noqa: SLF001 - the same
        has_timezone = hints.get("timezone", True) if override is None else override
        noted = (self._table, hints["name"], CUT)

        def moment(value: Any) -> Any:
            if is_finer(value) and noted not in self._lossy:
                raise ValueError(value)
            return normalize_timezone(change(value), has_timezone)

        return moment


def normalize(items: Sequence[Any], shortcut: Shortcut, own_way: Callable[[Any], Update]) -> Update:
    """Write rows in their order, each on the way that it can take; give how the schema has changed.

    Args:
        items: rows of a page.
        shortcut: of their table.
        own_way: normalizes and writes one row as dlt does.
    """
    update: Update = {}
    waiting: list[Any] = []
    for item in items:
        row = shortcut.row(item)
        if row is not None:
            waiting.append(row)
            continue
        shortcut.write(waiting)
        waiting = []
        for table, changes in own_way(item).items():
            update.setdefault(table, []).extend(changes)
    shortcut.write(waiting)
    return update


def _put(
    item: Mapping[str, Any],
    level: Level,
    row: dict[str, Any],
    learn: Callable[[Level, str, Any], Step | None],
) -> bool:
    """Put the values of an object into a row; False if one of them has no column yet."""
    steps = level.steps
    for field, value in item.items():
        step = steps.get((field, value.__class__))
        if step is None:
            step = learn(level, field, value)
            if step is None:
                return False
            steps[field, value.__class__] = step
        column, change, inner = step
        if column is not None:
            row[column] = value if change is None else change(value)
        elif inner is not None and not _put(value, inner, row, learn):
            return False
    return True
