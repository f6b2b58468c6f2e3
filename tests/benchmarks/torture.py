"""The torture table: four tools read the same hostile worlds; what each lost, doubled and reported."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks import figures
from tests.function import ROOT
from tests.sample_api import KEY, Behaviour, Failure, SampleApi, World

PEERS = Path(__file__).parent / "peers"
RESOURCE = "contacts"
PAGE = 100
"""Rows in a page, as every tool asks for."""
MOST_TIMES_LEAST = 10
"""A tool that asks for so many times the least pages is stopped."""
MOST_SECONDS = 300.0
"""A tool that takes so long is stopped."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and the driver that runs it."""

    name: str
    driver: str
    """Module that is run."""
    python: str = sys.executable

    @classmethod
    def peer(cls, title: str, driver: str) -> "Tool":
        """Give a peer, with the version that its requirements pin, in the environment that `make bench` makes."""
        pinned = re.findall(r"^[\w\[\]-]+==(\S+)$", (PEERS / f"{driver}.in").read_text(), re.MULTILINE)
        python = ROOT / ".venvs" / driver / "bin" / "python"
        return cls(f"{title} {pinned[0]}", f"tests.benchmarks.peers.{driver}", str(python))


@dataclass(frozen=True, slots=True)
class Scene:
    """A world of so many rows."""

    name: str
    rows: int
    behaviour: Behaviour
    in_readme: bool = True
    """Whether the short table has it."""

    @property
    def most_requests(self) -> int:
        """Requests after which a tool is stopped."""
        return MOST_TIMES_LEAST * self.rows // (self.behaviour.page_cap or PAGE)


SCENES = [
    Scene("a calm API", 20_000, Behaviour(), in_readme=False),
    Scene("a row is deleted every 3 pages", 20_000, Behaviour(delete_every=3)),
    Scene("rows are deleted and inserted", 20_000, Behaviour(delete_every=3, insert_every=2), in_readme=False),
    Scene("newest change first, a row changes every 3 pages", 20_000, Behaviour(move_every=3)),
    Scene("50 rows a page, whatever is asked for", 5_000, Behaviour(page_cap=50)),
    Scene("no `total` in the answers", 5_000, Behaviour(total=False)),
    Scene('200 with `{"error": ...}` from page 5 on', 5_000, Behaviour(fail_from=(5, Failure("error_body")))),
    Scene("503 once, in the middle", 5_000, Behaviour(failures={25: Failure(503)}), in_readme=False),
    Scene("the first page, whatever is asked for", 1_000, Behaviour(fail_from=(1, Failure("same_page")))),
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tool in one world."""

    tool: Tool
    scene: Scene
    lost: int
    """Rows that were there at the beginning, live at the end, and were not handed over."""
    twice: int
    """Rows that were handed over more than once."""
    reported: str
    requests: int

    def brief(self) -> str:
        """Tell it in a few words."""
        if self.reported not in ("success", "verified", "not verified"):
            return self.reported
        flaws = [f"{count:,} {what}" for count, what in ((self.lost, "lost"), (self.twice, "twice")) if count]
        return f"{' and '.join(flaws) or 'exact'}, {self.reported}"


@dataclass(slots=True)
class Told:
    """What a driver printed."""

    keys: Counter[Any] = field(default_factory=Counter)
    ended: str = ""
    """How the tool ended; empty: it did not."""


def main() -> None:
    """Measure, write it down, and print what is for the README."""
    tools = [
        Tool("this loader", "tests.benchmarks.this_loader"),
        Tool.peer("plain dlt", "plain_dlt"),
        Tool.peer("Airbyte CDK", "airbyte_cdk"),
        Tool.peer("Singer SDK", "singer_sdk"),
    ]
    outcomes = []
    for scene in SCENES:
        for tool in tools:
            outcomes.append(measure(tool, scene))
            print(f"{scene.name}: {tool.name}: {outcomes[-1].brief()}", file=sys.stderr, flush=True)
    brief = short_table(tools, outcomes)
    figures.write("torture", section(brief, outcomes))
    print(brief)


def measure(tool: Tool, scene: Scene) -> Outcome:
    """Let a tool read a world of its own."""
    world = World({RESOURCE: scene.rows}, scene.behaviour)
    at_first = keys_of(world)
    with SampleApi(world) as api, tempfile.TemporaryDirectory() as folder:
        told, stopped = run(tool, api, scene.most_requests, Path(folder))
        requests = len(api.requests)
    return Outcome(
        tool,
        scene,
        lost=len((at_first & keys_of(world)) - told.keys.keys()),
        twice=sum(count > 1 for count in told.keys.values()),
        reported=stopped or told.ended,
        requests=requests,
    )


def keys_of(world: World) -> set[Any]:
    return {row["id"] for row in world.snapshot(RESOURCE)}


def run(tool: Tool, api: SampleApi, most_requests: int, folder: Path) -> tuple[Told, str]:
    """Run a driver; give what it printed, and why it was stopped if it was.

    Raises:
        RuntimeError: the driver itself failed.
    """
    output, log = folder / "output", folder / "log"
    with output.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(
            [tool.python, "-m", tool.driver],
            cwd=ROOT,
            env=environment(api, folder),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            stopped = wait(process, api, most_requests)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    told = read(output)
    if not stopped and not told.ended:
        raise RuntimeError(f"{tool.name} did not run:\n{log.read_text(errors='replace')[-2000:]}")
    return told, stopped


def environment(api: SampleApi, folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "API_KEY": KEY,
        "BASE_URL": api.url,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }


def wait(process: subprocess.Popen[bytes], api: SampleApi, most_requests: int) -> str:
    """Wait until it ends or has had enough; tell why in the latter case."""
    until = time.monotonic() + MOST_SECONDS
    while process.poll() is None:
        if len(api.requests) > most_requests:
            return "did not end"
        if time.monotonic() > until:
            return "took too long"
        time.sleep(0.02)
    return ""


def read(output: Path) -> Told:
    """Read what a driver printed; some tools print messages of their own between its lines."""
    told = Told()
    for line in lines_of(output):
        if "ended" in line:
            told.ended = line["ended"]
        elif "id" in line:
            told.keys[line["id"]] += 1
    return told


def lines_of(output: Path) -> Iterator[dict[str, Any]]:
    for line in output.read_text().splitlines():
        # the last line of a tool that was stopped may be cut
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def short_table(tools: list[Tool], outcomes: list[Outcome]) -> str:
    """Give what the README opens with: a line for each world, a column for each tool."""
    rows = [
        (scene.name, *(outcome.brief() for outcome in outcomes if outcome.scene is scene))
        for scene in SCENES
        if scene.in_readme
    ]
    return figures.table(("the API", *(tool.name for tool in tools)), rows)


def section(brief: str, outcomes: list[Outcome]) -> str:
    """Give what docs/figures.md has."""
    rows = [
        (
            outcome.scene.name,
            f"{outcome.scene.rows:,}",
            outcome.tool.name,
            f"{outcome.lost:,}",
            f"{outcome.twice:,}",
            outcome.reported,
            f"{outcome.requests:,}",
        )
        for outcome in outcomes
    ]
    head = ("the API", "rows", "tool", "lost", "twice", "reported", "requests")
    return f"""\
## Torture
{figures.circumstances()}. In short:

{brief}

All of it. Every tool is asked for pages of {PAGE} rows by offset, with its own retries as they are set by default, and
each has a fresh copy of the same world. *Lost* are rows that were there at the beginning, live at the end, and were not
handed over (of a tool that failed, that is all it did not get to); *twice* are rows that were handed over more than
once: by plain dlt to a local folder, where `merge` becomes `append`; by Airbyte and Singer to a destination, which may
merge them by key; by this loader to a Delta table. *Did not end* means that it was stopped after {MOST_TIMES_LEAST}
times the least requests.

{figures.table(head, rows)}

Run it again: `make bench`. The drivers, with the versions that they pin, are in `tests/benchmarks/peers`.
"""


if __name__ == "__main__":
    main()
