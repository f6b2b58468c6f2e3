"""An incremental cursor moves with the pass, not with the pages.

dlt keeps the highest value that it has seen. If a pass of unsorted rows is paused, the next run would ask from there
and lose the rows that it had not read. So within a pass dlt's cursors stand where they stood at its beginning, what was
seen is kept aside, and it counts when the pass is complete. A sweep reads without cursors, and puts them back.
"""

import copy
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

DLT_KEY = "incremental"
"""Where dlt keeps its cursors in a resource's state (`dlt.extract.incremental`)."""

Furthest = Callable[[list[Any]], Any]
"""Gives the furthest of some values, like dlt's `last_value_func` (`max` by default)."""


def snapshot(state: Mapping[str, Any]) -> dict[str, Any]:
    """Copy dlt's cursors as they stand."""
    return copy.deepcopy(dict(state.get(DLT_KEY, {})))


def put_back(state: Mapping[str, Any], beginning: Mapping[str, Any]) -> None:
    """Set dlt's cursors to where they stood at the beginning of the pass."""
    cursors = state.get(DLT_KEY, {})
    for path in list(cursors):
        if path in beginning:
            _set(cursors[path], beginning[path])
        else:
            # dlt made it in this run; without it the next run starts at the initial value again
            del cursors[path]


def advance(state: Mapping[str, Any], seen: Mapping[str, Any]) -> None:
    """Set dlt's cursors to what was seen in the pass: from here on they count."""
    cursors = state.get(DLT_KEY, {})
    for path, cursor in seen.items():
        if path in cursors:
            _set(cursors[path], cursor)


def restore(state: MutableMapping[str, Any], aside: Mapping[str, Any]) -> None:
    """Set dlt's cursors to where they stood before a sweep."""
    put_back(state, aside)
    cursors = state.setdefault(DLT_KEY, {})
    for path, cursor in aside.items():
        cursors.setdefault(path, copy.deepcopy(cursor))


def furthest(aside: Mapping[str, Any], now: Mapping[str, Any], choose: Furthest = max) -> dict[str, Any]:
    """Merge what earlier runs of a pass have seen with what this one has: per cursor, the furthest.

    Where both stand at one value, the rows seen there are those of both (`unique_hashes`).
    """
    merged = copy.deepcopy(dict(now))
    for path, before in aside.items():
        here = merged.get(path)
        if here is None or here["last_value"] is None:
            merged[path] = copy.deepcopy(before)
        elif before["last_value"] is None:
            continue
        elif before["last_value"] == here["last_value"]:
            here["unique_hashes"] = sorted({*before["unique_hashes"], *here["unique_hashes"]})
        elif choose([before["last_value"], here["last_value"]]) == before["last_value"]:
            merged[path] = copy.deepcopy(before)
    return merged


def _set(cursor: dict[str, Any], values: Mapping[str, Any]) -> None:
    # in place: dlt's step holds on to this very object
    cursor.clear()
    cursor.update(copy.deepcopy(dict(values)))
