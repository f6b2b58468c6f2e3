"""Measure a bucket: `python -m tests.benchmarks.bucket [ROWS ...]`: seconds, bytes and memory, into docs/figures.md."""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from loader.destination.bucket import with_lists_as_text
from tests.benchmarks import figures
from tests.benchmarks.measured import LOOK_SECONDS, data_bytes, load, runs_of_last_pass, table_bytes
from tests.folding import Folding
from tests.sample_api import Row, SampleApi, World
from tests.sample_api.rows import make_row

MEBIBYTE = 1 << 20
ROWS = (100_000, 300_000, 1_000_000)
ROWS_IN_RUNS, RUN_SECONDS = 200_000, 20
"""A pass that changes every row, in runs of so many seconds."""
ORDERED_ROWS, CHUNK_ROWS = 1_000_000, 10_000

Line = tuple[str, ...]


def main(sizes: list[int]) -> None:
    """Load each size three times (into nothing, with every row changed, unchanged), then what else there is to know."""
    lines = [line for rows in sizes for line in passes(rows, ["first pass", "every row changed", "nothing changed"])]
    lines += list(passes(ROWS_IN_RUNS, ["first pass", "every row changed, in short runs"]))[1:]
    figures.write("bucket", section(lines, ordered()))


def passes(rows: int, labels: list[str]) -> Iterator[Line]:
    """Load a table of so many rows, a pass for each label."""
    with editable(rows) as (api, revision), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label in labels:
            revision[0] += "changed" in label and "nothing" not in label
            before = data_bytes(folder / "bucket")
            measured = load(api, folder, timeout_seconds=RUN_SECONDS if "short" in label else 3600)
            if measured.answer["status"] != "complete":
                raise RuntimeError(f"{rows} rows, {label}: {measured.answer}")
            written = data_bytes(folder / "bucket") - before
            times = written / table_bytes(folder / "bucket")
            line = (
                f"{rows:,}",
                label,
                f"{runs_of_last_pass(folder / 'bucket')}",
                f"{measured.answer['chunks']}",
                f"{measured.seconds:.0f}",
                f"{measured.peak_bytes / MEBIBYTE:.0f}",
                f"{written / MEBIBYTE:.1f}",
                f"{times:.2f}",
            )
            print(*line, sep=" | ", file=sys.stderr, flush=True)
            yield line


@contextmanager
def editable(rows: int) -> Iterator[tuple[SampleApi, list[int]]]:
    """Serve contacts with random keys, whose revision can be set."""
    revision = [1]

    def edit(_: str, __: int, row: Row) -> None:
        row["revision"] = revision[0]

    with SampleApi(World({"contacts": rows}, keys="random", edit=edit)) as api:
        yield api, revision


def ordered(rows: int = ORDERED_ROWS, chunk_rows: int = CHUNK_ROWS) -> str:
    """Fold a chunk of neighbouring keys into a table in the order of its keys; tell what it took."""
    with tempfile.TemporaryDirectory() as name:
        folding = in_order(Path(name), rows)
        before = files(folding)
        folding.stage(contacts(rows // 2, rows // 2 + chunk_rows, 2))
        began = time.monotonic()
        is_done, _ = folding.run()
        seconds = time.monotonic() - began
        after = files(folding)
    assert is_done
    replaced = len(before.keys() - after.keys())
    told = (
        f"{chunk_rows:,} neighbouring keys of {rows:,}: {seconds:.2f} s, {replaced} of "
        f"{len(before)} files written anew ({sum(after[new] for new in after.keys() - before.keys()):,} rows)"
    )
    print(told, file=sys.stderr, flush=True)
    return told


def in_order(folder: Path, rows: int, slice_rows: int = 20_000) -> Folding:
    """Make a table in the order of its keys, in files of a slice each, as folds leave it."""
    folding = Folding(folder)
    for first in range(0, rows, slice_rows):
        part = contacts(first, min(first + slice_rows, rows), 1)
        part = part.append_column("_dlt_load_id", pa.repeat("1.5", part.num_rows))
        write_deltalake(folding.target.location, part, mode="append")
    return folding


@cache
def template(rows: int) -> pa.Table:
    """Give contacts as they are staged: objects flattened, lists as text."""
    made = [with_lists_as_text(make_row("contacts", n)) for n in range(rows)]
    rows_made = pa.Table.from_pylist(made).flatten().flatten()
    return rows_made.rename_columns([name.replace(".", "__") for name in rows_made.column_names])


def contacts(first: int, end: int, revision: int) -> pa.Table:
    """Give the contacts with these keys, in an Arrow table."""
    rows = template(end - first).drop_columns(["id", "revision"])
    rows = rows.append_column("id", pa.array(range(first, end), pa.int64()))
    return rows.append_column("revision", pa.repeat(pa.scalar(revision, pa.int64()), end - first))


def files(folding: Folding) -> dict[str, int]:
    """Give the files that a table consists of, and their rows."""
    table = folding.target.open()
    assert table is not None
    actions = pa.table(table.get_add_actions(flatten=True))
    return dict(zip(actions["path"].to_pylist(), actions["num_records"].to_pylist(), strict=True))


def section(lines: list[Line], in_order: str) -> str:
    """Give what docs/figures.md has."""
    head = ("rows", "pass", "runs", "chunks", "seconds", "peak, MiB", "written, MiB", "times the table")
    return f"""\
## A bucket
{figures.circumstances()}. Contacts of the sample API with random keys (UUIDs), about 500 bytes of JSON each, pages of
1,000, over a socket into a local folder.

{figures.table(head, lines)}

- *Peak*: resident memory of the whole process and its working folder together (a function's disk is memory), looked at
  every {1000 * LOOK_SECONDS:.0f} ms.
- *Written*: all data files, those of staged rows too, against the files that the table consists of afterwards. A pass
  that changes every row stages it once and folds twice; a first one folds whenever half as many rows are staged as the
  table has, while it grows.
- *In order*: {in_order}.

Run it again: `make bench`, or `python -m tests.benchmarks.bucket 100000` for one size.
"""


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or list(ROWS))
