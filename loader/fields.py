"""What rows of JSON become as columns: which fields would share one, and which would be split over two. Pure."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

Path = tuple[str, ...]
"""Of a field: the names that lead to it, as the API spells them."""

Column = tuple[str, ...]
"""Of a field, as dlt names it: the lists that it is in, outermost first, and then its own name."""

Names = Callable[[str], str]
"""Gives the name that dlt makes of one of the API's: `NamingConvention.normalize_path`."""

EMPTY = "_empty"
"""dlt's name of a field whose own is empty; here also of one that dlt's naming leaves nothing of, like `__`."""

SEPARATOR = "__"
"""Between the names of an object and of a field in it, in a column's."""


ADDED = ("_dlt_", "_loader_")
"""How the names of columns begin that are none of the API's."""

_TAKEN = re.compile(
    f"({'|'.join(ADDED)}).*|_deleted_at|"
    f".+{SEPARATOR}v_(text|double|bool|timestamp|bigint|binary|json|decimal|wei|date|time)"
)
"""Names of columns that dlt or the loader adds, of those for values that do not fit another column, too."""


def columns_of(rows: Iterable[Any], names: Names) -> dict[Column, set[Path]]:
    """Give each column that rows become, and the fields that go into it: more than one, where names collide.

    Args:
        rows: of one resource, as the API sends them.
        names: of the destination.
    """
    columns: dict[Column, set[Path]] = defaultdict(set)
    for row in rows:
        for column, path, _ in _values(row, names):
            if path:
                columns[column].add(path)
    return columns


def colliding(columns: Mapping[Column, AbstractSet[Path]]) -> dict[Column, AbstractSet[Path]]:
    """Give those columns into which several fields go."""
    return {column: paths for column, paths in columns.items() if len(paths) > 1}


def split_numbers(rows: Iterable[Any], names: Names) -> set[Column]:
    """Give the columns that have whole numbers in some rows and others in others: dlt would make two of each."""
    whole: set[Column] = set()
    others: set[Column] = set()
    for row in rows:
        for column, _, value in _values(row, names):
            if isinstance(value, float) and not value.is_integer():
                others.add(column)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                whole.add(column)
    return whole & others


def is_taken(name: str) -> bool:
    """Tell whether no field can have a column of this name."""
    return bool(_TAKEN.fullmatch(name))


def new_names(
    columns: Mapping[Column, AbstractSet[Path]],
    names: Names,
    owners: Collection[Path] = (),
    ours: Collection[Path] = (),
) -> dict[Path, str]:
    """Give a name of its own to each field but one of those that collide: it depends on nothing but the field.

    The one that keeps the column is an owner; without one, the field that is spelled like it; else the first by name.
    Of a column that dlt or the loader adds it is none.

    Args:
        columns: that rows become, with the fields that go into each.
        names: of the destination.
        owners: fields that had their columns before, or are part of the key.
        ours: what is none of the API's in the rows.
    """
    renamed = {}
    for column, paths in columns.items():
        if is_taken(column[-1]):
            for path in paths - {*ours}:
                renamed[path] = _new_name(path, _name(path[-1], names).lstrip("_"))
        elif len(paths) > 1:
            first = min(paths, key=lambda path: (path not in owners, path[-1] != column[-1], path))
            for path in paths - {first}:
                renamed[path] = _new_name(path, _name(path[-1], names))
    return renamed


def _new_name(path: Path, name: str) -> str:
    return f"{name}_{hashlib.blake2b(json.dumps(path).encode(), digest_size=3).hexdigest()}"


OWN_NAMES = {name: _new_name((name,), name[1:]) for name in ("_dlt_id", "_loader_row_hash")}
"""What a field is called whose name is one that the loader writes into rows before dlt normalizes them."""


def with_own_names(row: Any) -> Any:
    """Give a row with such fields under their new names."""
    if not isinstance(row, dict) or row.keys().isdisjoint(OWN_NAMES.keys()):
        return row
    return {OWN_NAMES.get(name, name): value for name, value in row.items()}


def with_new_names(value: Any, renamed: Mapping[Path, str], path: Path = ()) -> Any:
    """Give a row, or rows, with these fields under their new names."""
    if isinstance(value, list):
        return [with_new_names(item, renamed, path) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        renamed.get((*path, name), name): with_new_names(inner, renamed, (*path, name)) for name, inner in value.items()
    }


def _values(row: Any, names: Names) -> Iterator[tuple[Column, Path, Any]]:
    """Give each value that is in a row: its column, its field, and the value; of an item of a list, no field."""
    # the lists around an object, the names of the objects around it in its table, its path, and itself
    objects: list[tuple[Column, Column, Path, Any]] = [((), (), (), row)]
    while objects:
        lists, parents, path, here = objects.pop()
        for name, value in here.items() if isinstance(here, dict) else ():
            inner = (*parents, _name(name, names))
            column = (*lists, SEPARATOR.join(inner))
            if isinstance(value, dict):
                objects.append((lists, inner, (*path, name), value))
                continue
            yield column, (*path, name), value
            for item in value if isinstance(value, list) else ():
                if isinstance(item, dict):
                    objects.append((column, (), (*path, name), item))
                elif not isinstance(item, list):
                    yield (*column, "value"), (), item


def _name(name: str, names: Names) -> str:
    return (names(name) if name.strip() else EMPTY) or EMPTY
