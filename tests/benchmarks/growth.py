"""What a row costs as there are more of them, and memory over time: `python -m tests.benchmarks.growth [ROWS ...]`."""

import sys
import tempfile
from pathlib import Path

from tests.benchmarks import figures, plots
from tests.benchmarks.measured import Measured, load
from tests.sample_api import SampleApi, World

MEBIBYTE = 1 << 20
ROWS = (10_000, 100_000, 1_000_000)


def main(sizes: list[int]) -> None:
    """Load each size into nothing, and write down what it took."""
    figures.write("growth", section({rows: first_pass(rows) for rows in sizes}))


def first_pass(rows: int) -> Measured:
    """Load so many rows into an empty folder."""
    with SampleApi(World({"contacts": rows})) as api, tempfile.TemporaryDirectory() as name:
        measured = load(api, Path(name))
        if (measured.answer["status"], measured.answer["rows"]) != ("complete", rows):
            raise RuntimeError(f"{rows} rows: {measured.answer}")
    print(f"{rows:,} rows: {measured.seconds:.1f} s", file=sys.stderr, flush=True)
    return measured


def section(loads: dict[int, Measured]) -> str:
    """Give what docs/figures.md has."""
    lines = [
        (
            f"{rows:,}",
            f"{measured.seconds:.1f}",
            f"{1e6 * measured.seconds / rows:.0f}",
            f"{measured.answer['chunks']}",
            f"{measured.peak_bytes / MEBIBYTE:.0f}",
        )
        for rows, measured in loads.items()
    ]
    memory = {
        f"{rows:,} rows": [(seconds, size / MEBIBYTE) for seconds, size in measured.bytes_over_time]
        for rows, measured in loads.items()
    }
    return f"""\
## Growth
{figures.circumstances()}. Contacts with keys in order, pages of 1,000 without latency, a first pass into a local
folder, from the start of the process to its end.

{figures.table(("rows", "seconds", "microseconds a row", "chunks", "peak, MiB"), lines)}

{plots.draw("memory", "Memory of the process and its working folder", ("seconds", "MiB"), memory)}

Run it again: `make bench`, or `python -m tests.benchmarks.growth 10000` for one size.
"""


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or list(ROWS))
