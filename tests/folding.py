"""A table and its staged rows in a folder, staged and folded as a run does it, without the rest of a run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder

from loader.clock import SystemClock
from loader.deadline import Deadline
from loader.destination.delta import Place
from loader.destination.fold import Fold, Pace
from loader.destination.stage import stage
from loader.lease import Gate

Row = dict[str, Any]


@dataclass
class Folding:
    """Tables below a folder."""

    folder: Path
    columns: tuple[str, ...] = ("id",)
    """The key."""
    gate: Gate = field(default_factory=Gate)
    packages: int = 0
    """Staged so far."""
    url: str = ""
    """Where the tables are, if they are not in the folder."""

    @property
    def target(self) -> Place:
        return Place(f"{self.url or f'file://{self.folder}'}/analytics/rows", {})

    @property
    def staged(self) -> Place:
        return Place(f"{self.url or f'file://{self.folder}'}/analytics_staging/rows", {})

    @property
    def fold(self) -> Fold:
        return Fold("rows", self.target, self.staged, self.columns, self.gate.pass_through)

    def stage(self, rows: Iterable[Row] | pa.Table, load_id: str | None = None) -> None:
        """Stage a package."""
        self.packages += 1
        load_id = load_id or f"{1_700_000_000 + self.packages}.5"
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows))
        table = table.append_column("_dlt_load_id", pa.repeat(load_id, table.num_rows))
        path = self.folder / f"package-{self.packages}.parquet"
        self.folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        stage(self.staged, "rows", [str(path)], self.columns, load_id, self.gate)
        path.unlink()

    def run(self) -> tuple[bool, int]:
        """Fold; give whether it is done, and how many commits it took."""
        return self.run_until(Deadline(SystemClock(), math.inf))

    def run_until(self, deadline: Deadline) -> tuple[bool, int]:
        """Fold as far as the time goes."""
        pace = Pace(deadline)
        return self.fold.run(pace), pace.commits

    def waiting(self) -> int:
        """Count the staged rows."""
        table = self.staged.open()
        return table.count() if table else 0

    def rows(self, what: str = "*") -> list[Row]:
        """Give the rows of the table, by key."""
        return read(DeltaTable(self.target.location), what, self.columns)


def read(table: DeltaTable, what: str = "*", order: Sequence[str] = ("id",)) -> list[Row]:
    """Read a Delta table, as anybody would."""
    names = ", ".join(f'"{name}"' for name in order)
    found = QueryBuilder().register("t", table).execute(f"SELECT {what} FROM t ORDER BY {names}")  # noqa: S608
    rows: list[Row] = pa.table(found.read_all()).to_pylist()
    return rows


def by_key(*packages: Iterable[Mapping[str, Any]], columns: Sequence[str] = ("id",)) -> dict[Any, Row]:
    """Give what a table must hold after these packages: the last row of each key."""
    return {tuple(row[column] for column in columns): dict(row) for rows in packages for row in rows}
