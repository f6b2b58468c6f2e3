"""dlt's normalize step, that does a package again where a field would get two columns, or two fields one.

It costs nothing where all is well: the schema that dlt finds says whether a number was split, and dlt asks for the name
of each field once in a package.
"""

import importlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from dlt.common.json import json
from dlt.common.normalizers.json import helpers
from dlt.common.normalizers.naming import NamingConvention
from dlt.common.schema import Schema
from dlt.common.schema.utils import is_dlt_table_or_column
from dlt.common.storages import ParsedLoadJobFileName
from dlt.common.typing import VARIANT_FIELD_FORMAT
from dlt.normalize.items_normalizers.jsonl import JsonLItemsNormalizer
from dlt.normalize.normalize import Normalize, SubmitRV, remove_files_from_metrics

from loader import deleted
from loader.columns import Split, is_data, splits, told_of_new
from loader.exactness import as_moment, has_room, is_finer
from loader.fields import (
    ADDED,
    EMPTY,
    OWN_NAMES,
    SEPARATOR,
    Column,
    Path,
    columns_of,
    is_taken,
    new_names,
    with_new_names,
)
from loader.history import TABLE
from loader.shortcut import CUT, Lossy, Shortcut, normalize

FIELDS: Any = "x-loader-fields"
"""Hint of a table: names of fields as the API spells them, by what dlt makes of them, where that is not the same."""

RENAMED: Any = "x-loader-renamed"
"""Hint of a table: fields with a name of their own, since they would share a column; each as its path and that name."""


TOLD: Any = "x-loader-told"
"""Hint of a table: what was told of its columns, and is not told again; each as a column and its change."""


class UnsettledError(Exception):
    """A package would commit that a pass is complete, but a field of its rows has two columns."""


@dataclass(slots=True)
class Watch:
    """What a run knows of its packages, and what it wants to know."""

    resource: str
    fits: Callable[[str, str, str], bool]
    """Tells of a table, a column and a type whether its values may become of that type without being changed."""
    keys: frozenset[str] = frozenset()
    """Fields of the key: they keep their columns, whatever else is called like them."""
    moments: frozenset[str] = frozenset()
    """Fields that are configured as timestamps: numbers in them are seconds since 1970."""
    renamed: dict[str, dict[Path, str]] = field(default_factory=dict)
    """What has other names already, by table, in rows that are to be normalized once more."""
    lossy: set[Lossy] = field(default_factory=set)
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What the last package changes: columns that are new, split or widened, fields that were renamed."""


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)
_noted: ContextVar[dict[str, set[str]] | None] = ContextVar("noted", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Do packages that are normalized within again where that is needed."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def install() -> None:
    """Let dlt note the names of fields that it comes across, each once, and give a variant the type of its name."""
    helpers.normalize_identifier = _normalize_identifier
    helpers.normalize_table_identifier = _normalize_table_identifier
    JsonLItemsNormalizer._infer_column_type = _infer_column_type  # type: ignore[method-assign]  # noqa: SLF001 - see docs/dlt.md
    JsonLItemsNormalizer._coerce_row = _coerce_row  # type: ignore[method-assign]  # noqa: SLF001 - the same
    JsonLItemsNormalizer._normalize_chunk = _normalize_chunk  # type: ignore[method-assign]  # noqa: SLF001 - the same
    JsonLItemsNormalizer._filter_columns = _filter_columns  # type: ignore[method-assign]  # noqa: SLF001 - the same
    # a schema_contract speaks of the API's fields, which have none of these names
    importlib.import_module("dlt.common.schema.schema").is_dlt_table_or_column = _is_added  # type: ignore[attr-defined]


_plain_identifier, _plain_table_identifier = helpers.normalize_identifier, helpers.normalize_table_identifier
_plain_type = JsonLItemsNormalizer._infer_column_type  # noqa: SLF001 - see docs/dlt.md
_plain_row = JsonLItemsNormalizer._coerce_row  # noqa: SLF001 - the same
_plain_filter = JsonLItemsNormalizer._filter_columns  # noqa: SLF001 - the same
_plain_chunk = JsonLItemsNormalizer._normalize_chunk  # noqa: SLF001 - the same


def _is_added(name: str, normalized_dlt_prefix: str) -> bool:
    return is_dlt_table_or_column(name, normalized_dlt_prefix) or name.startswith(ADDED) or name == deleted.COLUMN


def _filter_columns(self: Any, filtered_columns: Any, row: Any) -> Any:
    """Take out of a row what its table's contract discards; note what that was."""
    watch = _watch.get()
    if watch:
        table = next(table for table, each in self._filtered_tables_columns.items() if each is filtered_columns)
        watch.lossy.update((table, name, "discarded") for name in filtered_columns if row.get(name) is not None)
    return _plain_filter(self, filtered_columns, row)


def _infer_column_type(self: Any, v: Any, col_name: str, skip_preferred: bool = False) -> Any:  # noqa: FBT001, FBT002 - dlt's own
    """Give the type of a new column; one that is a variant (`skip_preferred`) is of the type that its name says.

    dlt finds a date in its first text, say, and then no other text would fit into the column.
    """
    if skip_preferred:
        return self._py_type_to_sc_type(type(v))
    return _plain_type(self, v, col_name, skip_preferred)


def _coerce_row(self: Any, table_name: str, parent_table: str, row: Mapping[str, Any]) -> Any:
    """Fit a row into its table; a number with more digits than its decimal column has goes into a variant column.

    dlt does not count digits: the package could never be written, or BigQuery would round.
    """
    watch, spelled = _watch.get(), row
    for name in watch.moments if watch else ():
        column = self.naming.normalize_path(name)
        if column in row:
            row = {**row, column: as_moment(row[column])}
    values, partial = _plain_row(self, table_name, parent_table, row)
    if watch:
        cut = (name for name, value in values.items() if isinstance(value, datetime) and is_finer(spelled.get(name)))
        watch.lossy.update((table_name, name, CUT) for name in cut)
    if Decimal not in map(type, values.values()):
        return values, partial
    known: Any = self.schema.tables.get(table_name, {"columns": {}})
    added = {**partial["columns"]} if partial else {}
    columns = {**known["columns"], **added}
    for name, value in [*values.items()]:
        if type(value) is not Decimal or not _is_too_long(self, columns[name], value):
            continue
        del values[name]
        kind = self._py_type_to_sc_type(type(row[name]))
        variant = self.naming.shorten_fragments(name, VARIANT_FIELD_FORMAT % kind)
        coerced = self._coerce_non_null_value(columns, table_name, variant, row[name], is_variant=True)
        variant, new, values[variant] = coerced
        if new:
            added[variant] = new
    return values, {**(partial or known), "columns": added} if added else partial


def _normalize_chunk(
    self: Any,
    root_table_name: str,
    items: list[Any],
    may_have_pua: bool,  # noqa: FBT001 - dlt's own
    skip_write: bool,  # noqa: FBT001 - the same
) -> Any:
    """Let the rows of a page take the short way that can; none with values that JSON has no kind for."""
    watch = _watch.get()
    table = _plain_table_identifier(self.schema, self.naming, root_table_name)
    if watch is None or may_have_pua or skip_write or self.schema._compiled_excludes or table not in self.schema.tables:  # noqa: SLF001 - see docs/dlt.md
        return _plain_chunk(self, root_table_name, items, may_have_pua, skip_write)
    shortcuts = vars(self).setdefault("shortcuts", {})
    if table not in shortcuts:
        moments = [self.naming.normalize_path(name) for name in watch.moments]
        shortcuts[table] = Shortcut(self, table, moments, watch.lossy)

    def own_way(item: Any) -> Any:
        return _plain_chunk(self, root_table_name, [item], may_have_pua, skip_write)

    return normalize(items, shortcuts[table], own_way)


def _is_too_long(self: Any, column: Mapping[str, Any], number: Decimal) -> bool:
    if column.get("data_type") != "decimal" or column.get("variant"):
        return False
    precision, scale = self.config.destination_capabilities.decimal_precision
    if column.get("precision") is not None:
        precision = column["precision"]
    if column.get("scale") is not None:
        scale = column["scale"]
    return not has_room(number, precision, scale)


def _normalize_identifier(schema: Schema, naming: NamingConvention, identifier: str) -> str:
    return _note(identifier, _plain_identifier(schema, naming, identifier) or EMPTY)


def _normalize_table_identifier(schema: Schema, naming: NamingConvention, table_name: str) -> str:
    return _note(table_name, _plain_table_identifier(schema, naming, table_name) or EMPTY)


def _note(spelled: str, name: str) -> str:
    noted = _noted.get()
    if noted is not None:
        noted[name].add(spelled)
    return name


class Retyping(Normalize):
    """dlt's normalize step."""

    def map_single(self, schema: Schema, load_id: str, files: Sequence[str]) -> SubmitRV:
        """Normalize the files of a package: again, with wider columns or other names, until each field has a column.

        Raises:
            UnsettledError: a field has two, and the package commits that the pass is complete.
        """
        watch = _watch.get()
        if watch is None:
            return super().map_single(schema, load_id, files)
        package = _Package(self, watch, schema, files)
        while True:
            with package.attempt():
                done = super().map_single(schema, load_id, package.rows)
            if done.pending_exc:
                return done
            if package.is_settled():
                break
            remove_files_from_metrics(done.file_metrics)
        package.keep(done)
        others = super().map_single(schema, load_id, package.others)
        return SubmitRV(
            [*done.schema_updates, *(others.schema_updates or [])],
            [*done.file_metrics, *others.file_metrics],
            others.pending_exc,
            {**done.null_only_columns, **others.null_only_columns},
        )


class _Package:
    """A package that is normalized, maybe several times."""

    def __init__(self, step: Normalize, watch: Watch, schema: Schema, files: Sequence[str]) -> None:
        self._storage = step.normalize_storage.extracted_packages.storage
        self._watch = watch
        self._schema = schema
        self._before = schema.clone()
        self._names = schema.naming.normalize_path
        self._files: dict[str, list[str]] = defaultdict(list)
        parsed = {file: ParsedLoadJobFileName.parse(file) for file in files}
        for file, name in parsed.items():
            if is_data(name.table_name) and name.file_format == "typed-jsonl":
                self._files[schema.naming.normalize_table_identifier(name.table_name)].append(file)
        self.rows = [file for file, name in parsed.items() if is_data(name.table_name)]
        self.others = [file for file in files if file not in self.rows]
        self._history = [file for file in self.others if parsed[file].table_name == TABLE]
        self._is_again = False
        self._noted: dict[str, set[str]] = {}
        self._wider: dict[tuple[str, str], str] = {}
        self._refused: set[tuple[str, str]] = set()
        self._renamed: dict[str, dict[Path, str]] = {}
        for table in self._files:
            known: Any = self._before.tables.get(table, {}).get(RENAMED, [])
            self._rename(table, {tuple(path): name for path, name in known})
        self._known = {table: dict(renamed) for table, renamed in self._renamed.items()}
        for table, renamed in watch.renamed.items():
            self._renamed.setdefault(table, {}).update(renamed)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Begin with the schema as it was, but for what is decided; note the names of fields."""
        if self._is_again:
            found = self._schema.clone()
            self._schema.replace_schema_content(self._before.clone())
            for table in {table for table, _ in self._wider}:
                self._put_wider(table, found)
        self._is_again = True
        self._watch.lossy.clear()
        self._noted = defaultdict(set)
        token = _noted.set(self._noted)
        try:
            yield
        finally:
            _noted.reset(token)

    def is_settled(self) -> bool:
        """Tell whether each field has a column of its own, as far as that can be; decide what to do if not."""
        return not (self._renames_more() or self._widens_more())

    def keep(self, done: SubmitRV) -> None:
        """Let the schema remember the names, and tell what was done.

        Raises:
            UnsettledError: a field has two columns, and the package commits that the pass is complete.
        """
        if self._history and splits(self._schema):
            remove_files_from_metrics(done.file_metrics)
            self._watch.renamed = self._renamed
            raise UnsettledError
        self._watch.renamed = {}
        for table in self._files:
            if table in self._schema.tables:
                hints: Any = self._schema.tables[table]
                hints[FIELDS] = self._spelled(table)
                if self._renamed[table]:
                    hints[RENAMED] = sorted([[*path], name] for path, name in self._renamed[table].items())
        widened = [*self._widened(done)]
        updates = [
            {table: {"columns": columns}}
            for update in done.schema_updates
            for table, partials in update.items()
            for columns in (partial["columns"] for partial in partials)
        ]
        new = told_of_new(updates, self._schema, self._watch.resource)
        self._watch.changes = [*new, *widened, *self._told_of_names(), *self._told_of_losses()]
        for file in self._history:
            self._rewrite(file, self._with_changes)

    def _put_wider(self, table: str, found: Schema) -> None:
        """Put columns of a table into the schema, with what is decided, and the tables around that one."""
        columns: dict[str, Any] = {
            column: {**found.tables[table]["columns"][column], "data_type": data_type}
            for (where, column), data_type in self._wider.items()
            if where == table
        }
        chain = [table]
        while parent := found.tables[chain[-1]].get("parent"):
            chain.append(parent)
        for each in reversed(chain):
            partial: Any = {**found.tables[each], "columns": columns if each == table else {}}
            if each == table or each not in self._schema.tables:
                self._schema.update_table(partial, normalize_identifiers=False)

    # numbers

    def _widens_more(self) -> bool:
        """Decide about columns whose numbers were split; True if there is something new to try."""
        found = splits(self._schema)
        columns = [(split.table, split.column) for split in found]
        before = (len(self._wider), len(self._refused))
        for split, column in zip(found, columns, strict=True):
            if column in self._wider:
                # it has both decimals and integers that no float holds
                del self._wider[column]
                self._refused.add(column)
            elif split.wider and columns.count(column) == 1 and column not in self._refused and self._may_widen(split):
                self._wider[column] = split.wider
        return before != (len(self._wider), len(self._refused))

    def _may_widen(self, split: Split) -> bool:
        columns = self._before.tables[split.table]["columns"] if split.table in self._before.tables else {}
        if split.variant in columns:
            return False
        is_new = "data_type" not in columns.get(split.column, {})
        return is_new or self._watch.fits(split.table, split.column, str(split.wider))

    def _widened(self, done: SubmitRV) -> Iterator[dict[str, Any]]:
        """Tell of columns that were there before; dlt is told of new ones, that it has not found itself."""
        for (table, column), data_type in self._wider.items():
            before: Any = self._before.tables.get(table, {}).get("columns", {})
            if "data_type" in before.get(column, {}):
                yield {"table": table, "column": column, "data_type": data_type, "change": "widened"}
            else:
                partial: Any = {**self._schema.tables[table]}
                partial["columns"] = {column: partial["columns"][column]}
                done.schema_updates.append({table: [partial]})

    # names

    def _renames_more(self) -> bool:
        """Look whether fields share a column, if it may be; True if some get names of their own."""
        has_more = False
        for table in self._files if self._may_collide() else ():
            columns, owners = self._with_owners(table, columns_of(self._rows(table), self._names))
            renamed = new_names(columns, self._names, owners, [(name,) for name in OWN_NAMES])
            has_more |= bool(renamed)
            self._rename(table, renamed)
        return has_more

    def _may_collide(self) -> bool:
        """Tell whether two fields may share a column, by nothing but the names that there are."""
        for name, spelled in self._noted.items():
            # of an object's field it is the end of its column's name
            if not spelled <= OWN_NAMES.keys() and (is_taken(name) or is_taken(f"x{SEPARATOR}{name}")):
                return True
            known = {each for table in self._files for each in self._known_as(table, name)}
            if len(known | spelled) > 1 or (SEPARATOR in name and set(name.split(SEPARATOR)) <= self._noted.keys()):
                return True
        return any(
            EMPTY in column.split(SEPARATOR)
            for table in self._schema.tables
            if is_data(table)
            for column in self._schema.tables[table]["columns"]
        )

    def _known_as(self, table: str, name: str) -> set[str]:
        """Give how the API has spelled fields of a name before this package; nothing, if that is not known."""
        hints: Any = self._before.tables.get(table, {})
        if FIELDS not in hints:
            return set()
        if name in hints[FIELDS]:
            return set(hints[FIELDS][name])
        is_known = any(name in column.split(SEPARATOR) for column in hints["columns"])
        return {name} if is_known else set()

    def _with_owners(self, table: str, columns: dict[Column, set[Path]]) -> tuple[dict[Column, set[Path]], set[Path]]:
        """Add, to columns that were there before this package, the fields that they belong to."""
        owners = {path for paths in columns.values() for path in paths if path[-1] in self._watch.keys}
        for column, paths in columns.items():
            place: Any = self._before.tables.get(SEPARATOR.join([table, *column[:-1]]), {"columns": {}})
            if is_taken(column[-1]) or "data_type" not in place["columns"].get(column[-1], {}):
                continue
            path = min(paths)
            known = {(*path[:-1], spelled) for spelled in self._known_as(table, self._names(path[-1]))}
            if not paths & (owners | known):
                paths |= {*sorted(known)[:1]}
            owners |= known
        return columns, owners

    def _spelled(self, table: str) -> dict[str, list[str]]:
        """Give how the API spells fields, by name, where that is not the same."""
        hints: Any = self._before.tables.get(table, {})
        spelled = {name: set(others) for name, others in hints.get(FIELDS, {}).items()}
        for name, others in self._noted.items():
            if name in spelled or others != {name}:
                spelled.setdefault(name, set()).update(others)
        return {name: sorted(others) for name, others in sorted(spelled.items())}

    def _rename(self, table: str, renamed: Mapping[Path, str]) -> None:
        """Give fields other names, in the rows of the package."""
        self._renamed.setdefault(table, {}).update(renamed)
        for file in self._files[table] if renamed else ():
            self._rewrite(file, lambda page: with_new_names(page, renamed))

    def _rewrite(self, file: str, change: Callable[[Any], Any]) -> None:
        path = self._storage.make_full_path(file)
        with open(f"{path}.new", "wb") as rewritten:  # noqa: PTH123 - beside it
            rewritten.writelines(json.dumpb(change(page)) + b"\n" for page in self._pages(file))
        os.replace(f"{path}.new", path)  # noqa: PTH105 - the same

    def _rows(self, table: str) -> Iterator[Any]:
        for file in self._files[table]:
            for page in self._pages(file):
                yield from page

    def _pages(self, file: str) -> Iterator[Any]:
        with self._storage.open_file(file, "rb") as lines:
            for line in lines:
                yield json.loadb(line)

    def _with_changes(self, rows: Any) -> Any:
        """Give the row of the history with what this package changes: it was made before that was known."""
        return [
            {**row, "schema_changes": json.dumps([*json.loads(row["schema_changes"]), *self._watch.changes])}
            for row in rows
        ]

    def _told_of_names(self) -> Iterator[dict[str, Any]]:
        for table in self._files:
            before: Any = self._before.tables.get(table, {"columns": {}})
            for spelled, column in OWN_NAMES.items():
                if column in self._noted and column not in before["columns"]:
                    yield {"table": table, "column": column, "data_type": None, "change": "renamed", "field": spelled}
        for table, renamed in self._renamed.items():
            for path, name in sorted(renamed.items()):
                if path not in self._known[table]:
                    column = SEPARATOR.join(self._names(each) for each in (*path[:-1], name))
                    field = ".".join(path)
                    yield {"table": table, "column": column, "data_type": None, "change": "renamed", "field": field}

    def _told_of_losses(self) -> Iterator[dict[str, Any]]:
        for table, column, change in sorted(self._watch.lossy):
            hints: Any = self._schema.tables.get(table)
            # a contract may leave out a whole table, and what it leaves out of one is not cut
            if hints is None or (change == CUT and "data_type" not in hints["columns"].get(column, {})):
                continue
            if [column, change] not in hints.setdefault(TOLD, []):
                hints[TOLD].append([column, change])
                data_type = hints["columns"].get(column, {}).get("data_type")
                yield {"table": table, "column": column, "data_type": data_type, "change": change}
