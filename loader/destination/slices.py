"""Where a table is cut: slices of its keys, each small enough to be held in memory and written in one commit.

A table that was folded is sorted by key, file after file, and is cut between its files. Where staged rows are many, a
slice is cut again, at their own keys.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from loader.destination.delta import DataFile
from loader.destination.key_range import Key, KeyRange

MOST = 2.5
"""A slice may have so many times the rows that it should, staged ones counted; beyond it, it is cut again.

To cut a file that is there already costs writing it twice; most staged rows change a row and add none.
"""

HALVED = 1.5
"""A range that is sorted for the first time is halved until it has at most so many times the rows of a slice."""

UNSORTED = 3
"""Files that overlap, or one file, with so many times the rows of a slice are sorted before anything is folded."""


@dataclass(slots=True)
class Slice:
    """A range of keys, and how much is there."""

    keys: KeyRange
    rows: int
    """Of the table, about."""
    staged: int = 0
    """Staged rows, those of one key counted each."""
    sample: list[Key] = field(default_factory=list)
    """Keys of some of the staged rows, evenly."""


def cut_between_files(files: Sequence[DataFile], columns: tuple[str, ...], rows: int) -> list[Slice]:
    """Cut the keys between the files of a table, so that a slice has about so many rows or is one file."""
    cuts: list[Key] = []
    counts = [0]
    for file in files:
        if file.low is not None and counts[-1] >= rows / 2 and (not cuts or file.low > cuts[-1]):
            cuts.append(file.low)
            counts.append(0)
        counts[-1] += file.rows
    ranges = [KeyRange(columns, low, high) for low, high in pairwise([None, *cuts, None])]
    return [Slice(keys, count) for keys, count in zip(ranges, counts, strict=True)]


def count_staged(slices: Sequence[Slice], staged_keys: Iterable[Sequence[Key]], sample_every: int) -> None:
    """Count the staged rows of each slice, and keep some of their keys."""
    cuts = [here.keys.low or () for here in slices[1:]]
    number = 0
    for keys in staged_keys:
        for key in keys:
            here = slices[bisect_right(cuts, key)]
            here.staged += 1
            number += 1
            if number % sample_every == 0:
                here.sample.append(key)


def cut_again(here: Slice, rows: int) -> Iterator[Slice]:
    """Cut a slice at keys of its staged rows, so that no piece comes out with many more rows than `rows`."""
    is_large = here.rows + here.staged > MOST * rows and here.staged > rows / 4
    pieces = -(-(here.rows + here.staged) // rows) if is_large else 1
    sample = sorted(set(here.sample))
    low, high = here.keys.low, here.keys.high
    cuts = [sample[len(sample) * number // pieces] for number in range(1, pieces)] if sample else []
    cuts = sorted({cut for cut in cuts if low is None or cut > low})
    for first, last in pairwise([low, *cuts, high]):
        keys = KeyRange(here.keys.columns, first, last)
        yield Slice(keys, here.rows // (len(cuts) + 1), -(-here.staged // (len(cuts) + 1)))


def in_groups(slices: Iterable[Slice], rows: int) -> Iterator[list[Slice]]:
    """Put slices that are touched together, as long as their staged rows are at most so many."""
    group: list[Slice] = []
    for here in slices:
        if not here.staged:
            continue
        if group and sum(other.staged for other in group) + here.staged > rows:
            yield group
            group = []
        group.append(here)
    if group:
        yield group


def overlapping(files: Sequence[DataFile], columns: tuple[str, ...], rows: int) -> list[KeyRange]:
    """Give the ranges of keys in which files overlap, or are too large, to much more than so many rows."""
    ranges = []
    groups: list[list[DataFile]] = []
    high: Key | None = None
    for file in files:
        if file.low is None or file.high is None:
            # without statistics there is nothing to cut by
            continue
        if groups and high is not None and _is_below(file, high):
            groups[-1].append(file)
            high = max(high, file.high)
        else:
            groups.append([file])
            high = file.high
    for number, group in enumerate(groups):
        if sum(file.rows for file in group) > UNSORTED * rows:
            low = group[0].low if number else None
            end = groups[number + 1][0].low if number + 1 < len(groups) else None
            ranges.append(KeyRange(columns, low, end))
    return ranges


def _is_below(file: DataFile, high: Key) -> bool:
    """Tell whether a file begins below a key; of a compound key, the log tells the columns one by one."""
    assert file.low is not None  # noqa: S101 - so is known
    assert file.high is not None  # noqa: S101 - the same
    if len(high) == 1:
        return file.low <= high
    return file.low[0] < high[0] or (file.low[0] == file.high[0] == high[0] and file.low < high)
