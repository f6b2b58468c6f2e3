"""Folds in a process of its own that ends at a chosen commit: `python -m ... FOLDER COMMITS HOW`.

HOW is `right`, or one of the wrong ways that the tests must notice.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from loader.destination import delta, fold
from tests.folding import Folding

KILLED = 77
SLICE_BYTES = 20_000


def main(folder: str, commits: int, how: str) -> None:
    """Fold, and end after so many commits."""
    fold.SLICE_BYTES = SLICE_BYTES
    counted, product = Counted(commits), vars(fold)
    wrong = how == "delete first"
    product["replace_rows"] = counted.deleting_first if wrong else counted.after(delta.replace_rows)
    clear = counted.after(vars(fold.Fold)["_clear"])
    if how == "clear first":
        staged = Folding(Path(folder)).staged.open()
        clear(Folding(Path(folder)).fold, staged)
    type.__setattr__(fold.Fold, "_clear", clear)
    Folding(Path(folder)).run()


class Counted:
    """Counts commits, and ends the process after the last."""

    def __init__(self, left: int) -> None:
        self._left = left
        self._replace = delta.replace_rows

    def count(self) -> None:
        self._left -= 1
        if not self._left:
            os._exit(KILLED)

    def after(self, commit: Any) -> Any:
        def counted(*arguments: Any) -> None:
            commit(*arguments)
            self.count()

        return counted

    def deleting_first(self, table: Any, keys: Any, rows: pa.Table, *rest: Any) -> None:
        table.delete(keys.sql())
        self.count()
        self._replace(table, keys, rows, *rest)
        self.count()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.stdout.flush()
    os._exit(0)
