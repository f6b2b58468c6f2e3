"""How long 20,000 rows take, with some pages at once and by peers: `-m tests.benchmarks.speed [MILLISECONDS ...]`."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import figures, plots
from tests.benchmarks.measured import arranged
from tests.benchmarks.torture import PAGE, RESOURCE, Tool, environment
from tests.function import ROOT
from tests.sample_api import Behaviour, SampleApi, World

ROWS = 20_000
LATENCIES_MS = (0, 50, 200)
"""Until the API answers a page, in milliseconds."""
AT_ONCE = (1, 4, 8, 16)
SHOWN_AT_ONCE = 8
"""In the README."""
ROUNDS = 3
PARTS = ("until the first request", "from there to the last", "from there to the end")

Loads = Callable[[SampleApi, Path], None]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who loads all rows, in a process of its own."""

    name: str
    loads: Loads
    at_once: int | None = None
    """So many pages; None: as it comes."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load by one contestant; all times in seconds."""

    whole: float
    """From the start of its process to its end ..."""
    start: float
    """... of that until its first request ..."""
    reading: float
    """... from there to its last request ..."""
    rest: float
    """... and from there to the end."""
    most_at_once: int
    """Requests that the API saw at once, at most."""
    requests: int


@dataclass(frozen=True, slots=True)
class Result:
    """What one contestant took at one latency, in each round."""

    runs: list[Run]

    @property
    def median(self) -> float:
        return statistics.median(run.whole for run in self.runs)

    def __str__(self) -> str:
        seconds = [run.whole for run in self.runs]
        return f"{self.median:.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"

    def parts(self) -> list[str]:
        """Give the medians of its parts, as they are shown."""
        parts = [[run.start, run.reading, run.rest] for run in self.runs]
        return [f"{statistics.median(seconds):.1f} s" for seconds in zip(*parts, strict=True)]


def ours(at_once: int) -> Contestant:
    def loads(api: SampleApi, folder: Path) -> None:
        how = arranged(api, folder, PAGE, timeout_seconds=3600, pages_in_flight=at_once)
        answer = json.loads(subprocess.run(**how, capture_output=True, check=True).stdout)
        if (answer["status"], answer["rows"]) != ("complete", ROWS):
            raise RuntimeError(f"Not all was loaded: {answer}")

    return Contestant(f"this loader, {at_once} at once", loads, at_once)


def peer(tool: Tool) -> Contestant:
    def loads(api: SampleApi, folder: Path) -> None:
        command = [tool.python, "-m", tool.driver]
        run = subprocess.run(command, cwd=ROOT, env=environment(api, folder), capture_output=True, check=True)
        if run.stdout.count(b'{"id": ') != ROWS:
            raise RuntimeError(f"{tool.name} did not load all rows: {run.stderr.decode()[-2000:]}")

    return Contestant(tool.name, loads)


def contestants() -> list[Contestant]:
    return [
        *(ours(at_once) for at_once in AT_ONCE),
        peer(Tool.peer("plain dlt", "plain_dlt")),
        peer(Tool.peer("Airbyte CDK", "airbyte_cdk")),
        peer(Tool.peer("Singer SDK", "singer_sdk")),
    ]


def main(latencies_ms: list[int]) -> None:
    """Measure, write it down, and print what is for the README."""
    everyone = contestants()
    columns = {milliseconds: measure_all(everyone, milliseconds) for milliseconds in sorted(latencies_ms)}
    table = figures.table(
        ("20,000 rows", *(f"{milliseconds} ms a page" for milliseconds in columns)),
        [(who.name, *(str(column[who.name]) for column in columns.values())) for who in everyone],
    )
    lines = {who.name: [(ms, columns[ms][who.name].median) for ms in columns] for who in everyone}
    plot = plots.draw("speed", "20,000 rows", ("ms until a page is answered", "seconds"), lines)
    figures.write("speed", section(f"{in_short(columns)}\n\n{table}\n\n{plot}", everyone, columns))
    print(table)


def in_short(columns: dict[int, dict[str, Result]]) -> str:
    """Give the table of the README."""
    names = [who.name for who in contestants() if who.at_once in (SHOWN_AT_ONCE, None)]
    titles = [name.replace(f", {SHOWN_AT_ONCE} at once", f", {SHOWN_AT_ONCE} pages at once") for name in names]
    return figures.table(
        ("20,000 rows, from the start of a process to its end", *titles),
        [
            (f"the API takes {milliseconds} ms a page", *(f"{column[name].median:.1f} s" for name in names))
            for milliseconds, column in columns.items()
            if milliseconds
        ],
    )


def measure_all(everyone: list[Contestant], milliseconds: int) -> dict[str, Result]:
    """Let everyone load, round by round, so that what else the machine does meets them all."""
    results: dict[str, Result] = {who.name: Result([]) for who in everyone}
    for _ in range(ROUNDS):
        for who in everyone:
            run = measure(who, milliseconds)
            results[who.name].runs.append(run)
            print(f"{milliseconds} ms: {who.name}: {run.whole:.1f} s", file=sys.stderr, flush=True)
    return results


def measure(who: Contestant, milliseconds: int) -> Run:
    """Let somebody load once."""
    world = World({RESOURCE: ROWS}, Behaviour(latency=milliseconds / 1000))
    with SampleApi(world) as api, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        who.loads(api, Path(folder))
        ended = time.monotonic()
        if who.at_once and api.max_in_flight > who.at_once:
            raise RuntimeError(f"{who.name}: {api.max_in_flight} requests at once.")
        asked = [request.received_at for request in api.requests]
        first, last = min(asked), max(asked)
        return Run(ended - began, first - began, last - first, ended - last, api.max_in_flight, len(asked))


def section(table: str, everyone: list[Contestant], columns: dict[int, dict[str, Result]]) -> str:
    details = [
        (
            f"{milliseconds} ms",
            who.name,
            str(column[who.name].runs[0].requests),
            str(max(run.most_at_once for run in column[who.name].runs)),
            *column[who.name].parts(),
        )
        for milliseconds, column in columns.items()
        for who in everyone
    ]
    return f"""\
## Speed
{figures.circumstances()}. {ROWS:,} rows, {PAGE} a page, from the start of a process to its end: the median of {ROUNDS}
rounds, and their range. In short:

{table}

This loader merges into a Delta table, verified, after reading every page with an overlap and closing with a lap; plain
dlt runs with this project's `source_config.py`, word for word, into files in a folder; Airbyte and Singer hand their
rows to nobody. The API runs on the same machine, and takes its share of it. What pages at once can save is the waiting
while they are read; the rest is work, and at 0 ms there is nothing else.

{figures.table(("latency", "tool", "requests", "most at once", *PARTS), details)}
"""


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or list(LATENCIES_MS))
