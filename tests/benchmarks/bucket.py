"""Measure a bucket: `python -m tests.benchmarks.bucket [ROWS ...]` prints bytes written and peak memory by pass."""

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.measured import data_bytes, load, table_bytes
from tests.sample_api import Row, SampleApi, World

MEBIBYTE = 1 << 20
ROWS = (100_000, 300_000, 1_000_000)


def main(sizes: list[int]) -> None:
    """Load each size three times: into nothing, with every row changed, and unchanged."""
    for rows in sizes:
        _bucket(rows)


def _bucket(rows: int) -> None:
    revision = [1]

    def edit(_: str, __: int, row: Row) -> None:
        row["revision"] = revision[0]

    world = World({"contacts": rows}, keys="random", edit=edit)
    with tempfile.TemporaryDirectory() as name, SampleApi(world) as api:
        folder = Path(name)
        for label in ("first pass", "every row changed", "nothing changed"):
            revision[0] += label == "every row changed"
            before = data_bytes(folder / "bucket")
            measured = load(api, folder)
            written = data_bytes(folder / "bucket") - before
            times = written / table_bytes(folder / "bucket")
            print(
                f"{rows:>9,} rows, random keys, {label}: {measured.answer['status']}, "
                f"{measured.answer['rows']:,} rows, {measured.answer['chunks']} chunks, {measured.seconds:.1f} s, "
                f"peak {measured.peak_bytes / MEBIBYTE:.0f} MiB, wrote {written / MEBIBYTE:.1f} MiB "
                f"({times:.2f} times the table's)",
                flush=True,
            )


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or list(ROWS))
