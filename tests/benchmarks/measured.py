"""One load in a process of its own, watched from outside: memory with the working folder, and bytes written."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from tests.end_to_end.support.function import own_config
from tests.end_to_end.support.tables import rows_of
from tests.sample_api import KEY, SampleApi

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 0.02
"""How often a process is looked at ..."""


STEP_SECONDS = 0.5
"""... and how often that is written down."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load took."""

    answer: dict[str, Any]
    seconds: float
    peak_bytes: int
    """Resident memory and working folder together, at their highest."""
    bytes_over_time: list[tuple[float, int]]
    """The same every half a second: seconds since the start, and bytes."""


def load(
    api: SampleApi, folder: Path, page_rows: int = 1000, timeout_seconds: int = 3600, pages_in_flight: int = 4
) -> Measured:
    """Load `contacts` into `folder/bucket`, until the pass is complete.

    Args:
        api: has it.
        folder: for all files.
        page_rows: how many rows a page has.
        timeout_seconds: of a run; the next one goes on.
        pages_in_flight: so many at once.
    """
    how = arranged(api, folder, page_rows, timeout_seconds, pages_in_flight)
    began = time.monotonic()
    process = subprocess.Popen(**how, stdout=subprocess.PIPE, text=True)
    seen: list[tuple[float, int]] = []
    watcher = threading.Thread(target=_watch, args=(process, Path(how["env"]["TMPDIR"]), began, seen))
    watcher.start()
    output, _ = process.communicate()
    seconds = time.monotonic() - began
    watcher.join()
    step = max(round(STEP_SECONDS / LOOK_SECONDS), 1)
    return Measured(json.loads(output), seconds, max(size for _, size in seen), seen[::step])


def arranged(
    api: SampleApi, folder: Path, page_rows: int, timeout_seconds: int, pages_in_flight: int
) -> dict[str, Any]:
    """Write what a process needs that loads `contacts`, see `load`; give the arguments for `subprocess`."""
    project = folder / "project"
    if not project.exists():
        project.mkdir(parents=True)
        (project / "loader").symlink_to(ROOT / "loader")
        (project / "main.py").write_text((ROOT / "main.py").read_text())
        text = own_config(pages_in_flight)
        (project / "source_config.py").write_text(text.replace('"limit": 100', f'"limit": {page_rows}'))
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(temporary),
        "LOG_LEVEL": "WARNING",
        "API_KEY": KEY,
        "BASE_URL": api.url,
        "BUCKET_URL": str(folder / "bucket"),
        "TIMEOUT_SECONDS": str(timeout_seconds),
    }
    return {"args": [sys.executable, "main.py", "contacts", "--json"], "cwd": project, "env": environment}


def _watch(process: "subprocess.Popen[str]", folder: Path, began: float, seen: list[tuple[float, int]]) -> None:
    while process.poll() is None:
        try:
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return
        seen.append((time.monotonic() - began, pages * os.sysconf("SC_PAGE_SIZE") + size_of(folder)))
        time.sleep(LOOK_SECONDS)


def size_of(folder: Path, suffix: str = "") -> int:
    """Give the size of the files below a folder, some of which may vanish meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size if name.endswith(suffix) else 0
    return total


def data_bytes(bucket: Path) -> int:
    """Give the size of all data files that were ever written for `contacts`, those of staged rows included."""
    return sum(size_of(bucket / data / "contacts", ".parquet") for data in ("analytics", "analytics_staging"))


def runs_of_last_pass(bucket: Path) -> int:
    """Give how many runs the last pass took."""
    rows = rows_of(bucket, "loader_passes")
    return int(max(rows, key=lambda row: row["started_at"])["runs"])


def table_bytes(bucket: Path) -> int:
    """Give the size of the files that the table consists of now."""
    actions = pa.table(DeltaTable(bucket / "analytics" / "contacts").get_add_actions(flatten=True))
    total: int = sum(actions["size_bytes"].to_pylist())
    return total
