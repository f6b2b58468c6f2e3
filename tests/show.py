"""`make run`: five resources of the sample API, through the function, into ./data, and the rows that are there then."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import requests
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.function import ROOT, START_SECONDS, Function
from tests.local_server import ADDRESS
from tests.sample_api import KEY, RESOURCES

DATA = Path("data")
DATASET = "analytics"
WIDTH = 100
ROWS_SHOWN = 3
COLUMNS_SHOWN = {
    "conversations": ("id", "created_at", "state", "source__author__name", "participant_ids", "tags"),
    "contacts": ("id", "created_at", "name", "location__city", "lifetime_value", "segments"),
    "conversation_parts": ("id", "created_at", "conversation_id", "part_type", "author__name"),
    "teams": ("id", "created_at", "name", "lead__name", "load", "member_ids"),
    "companies": ("id", "created_at", "name", "plan__price", "address__city"),
}


def main() -> int:
    """Show it; give the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # whoever has started it may ignore Ctrl-C, and what is started by them then does so, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    console = Console(highlight=False, width=width, soft_wrap=not sys.stdout.isatty())
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            sample_api(Path(folder)) as address,
            Function(settings(address), Path(folder) / "log.txt") as function,
        ):
            console.print(f"The sample API listens on {address}, the function on {function.url}.")
            console.print("Of its answers, what is null or empty is left out.\n")
            outcomes = [run(console, function, resource) for resource in RESOURCES]
            if not all(outcomes):
                console.print(f"The function's log:\n{function.log}", style="red", markup=False)
    except KeyboardInterrupt:
        console.print("Interrupted; the sample API and the function are stopped.")
        return 128 + signal.SIGINT
    except RuntimeError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    for resource in RESOURCES:
        show(console, resource)
    console.print("A second make run shows the same counts: rows are merged by their key, not doubled.")
    return int(not all(outcomes))


@contextmanager
def sample_api(folder: Path) -> Iterator[str]:
    """Start the sample API; give its address.

    Raises:
        RuntimeError: it does not start.
    """
    port_file = folder / "port"
    command = [sys.executable, "-m", "tests.sample_api", "--port-file", str(port_file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield f"http://{ADDRESS}:{_port(process, port_file)}"
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], port_file: Path) -> str:
    until = time.monotonic() + START_SECONDS
    while not port_file.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("The sample API did not start.")
        time.sleep(0.02)
    return port_file.read_text()


def settings(address: str) -> dict[str, str]:
    """Give the environment of the function: the settings of the README, for this machine."""
    return {
        "HOME": os.environ.get("HOME", ""),
        "API_KEY": KEY,
        "BASE_URL": address,
        "BUCKET_URL": str(DATA.resolve()),
        "DATASET_NAME": DATASET,
        "LOG_LEVEL": "WARNING",
    }


def run(console: Console, function: Function, resource: str) -> bool:
    """Load a resource, print the answer, and tell whether all is well."""
    order = {"resource": resource}
    console.print(f"POST {json.dumps(order)}", style="bold", markup=False)
    try:
        answer = function.post(order)
    except requests.RequestException as error:
        raise RuntimeError(f"The function did not answer ({type(error).__name__}):\n{function.log}") from error
    console.print(f"{answer.status_code} {compact(answer.json())}\n", markup=False)
    return answer.ok


def compact(answer: dict[str, Any]) -> str:
    """Give an answer on a line or two, without what is null or empty; new columns are counted."""
    changes = answer.pop("schema_changes", [])
    return json.dumps(_without_nothing({**answer, "schema_changes": changes and f"{len(changes)} new columns"}))


def _without_nothing(value: dict[str, Any]) -> dict[str, Any]:
    inner = {name: _without_nothing(item) if isinstance(item, dict) else item for name, item in value.items()}
    return {name: item for name, item in inner.items() if item not in (None, [], {})}


def show(console: Console, resource: str) -> None:
    """Print the count of a table and its first rows, read back from the folder."""
    columns = COLUMNS_SHOWN[resource]
    count, rows = read(resource, columns)
    console.print(f"{resource}: {count:,} {'row' if count == 1 else 'rows'}", style="bold")
    if rows:
        table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for row in rows:
            table.add_row(*[cell(value) for value in row])
        console.print(table, soft_wrap=False)
    else:
        console.print("(the API has none, so there is no table yet)")
    console.print()


def read(resource: str, columns: tuple[str, ...]) -> tuple[int, list[tuple[Any, ...]]]:
    """Give the count of a table and its first rows by id."""
    try:
        table = DeltaTable(DATA / DATASET / resource)
    except TableNotFoundError:
        return 0, []
    rows = duckdb.from_arrow(QueryBuilder().register("found", table).execute("SELECT * FROM found").read_all())
    first = rows.order("id").limit(ROWS_SHOWN).project(", ".join(columns))
    return len(rows), first.fetchall()


def cell(value: Any) -> Text:
    """Give a value as it is shown."""
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)
    return Text(text, overflow="ellipsis", no_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
