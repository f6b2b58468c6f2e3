"""Processes that are there at once, to be killed: one process imports everything, and forks.

Whoever writes a Delta table can't fork any more (its threads are not in the child), so the process that forks never
does. It runs apart from the tests: `python -m tests.end_to_end.support.lives` reads a command a line.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import deltalake
import dlt.common.libs.deltalake
import dlt.sources.rest_api
import pyarrow.dataset
from functions_framework import create_app
from werkzeug.serving import make_server

import loader.destination.bucket
import source_config
from loader import clock as product_clock
from loader import log
from tests.end_to_end.support.steps import DIED, Steps
from tests.function import ROOT
from tests.local_server import ADDRESS
from tests.sample_api import KEY

LOADED = (deltalake, dlt.common.libs.deltalake, dlt.sources.rest_api, pyarrow.dataset)
"""Imported for the children, who need it all."""

SURVIVED = 0


@dataclass(frozen=True, slots=True)
class Life:
    """What a child is to do: load `contacts` until the pass is complete, or serve the function."""

    bucket: str
    base_url: str
    hours: int = 0
    """How many hours its clock is ahead, so that what the dead left behind has expired."""
    last_step: int | None = None
    """Step to end at (see `steps`); None: none."""
    notes: str | None = None
    """File for a line per step."""
    chunk_bytes: int | None = None
    """Bound of a chunk, instead of the destination's own."""
    port: int | None = None
    """Where to serve the function; None: load without HTTP."""
    environment: dict[str, str] | None = None
    """More variables."""
    config: dict[str, Any] | None = None
    """Other values in source_config.py."""


class Lives:
    """Starts children, and ends with them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start the process that forks."""
        command = [sys.executable, "-m", "tests.end_to_end.support.lives"]
        self._forker = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._forker.communicate()

    def begin(self, life: Life) -> int:
        """Begin a life; give its process id."""
        return int(self._tell(asdict(life)))

    def end(self, process: int) -> int:
        """Wait for the end of a life; give its exit code (that of a signal is below zero)."""
        return int(self._tell(process))

    def kill(self, process: int) -> None:
        """SIGKILL, and wait."""
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        self.end(process)

    def live(self, life: Life) -> int:
        """Begin a life and wait for its end."""
        return self.end(self.begin(life))

    def _tell(self, command: Any) -> str:
        assert self._forker.stdin
        assert self._forker.stdout
        with self._lock:
            self._forker.stdin.write(json.dumps(command) + "\n")
            self._forker.stdin.flush()
            return self._forker.stdout.readline()


def main() -> None:
    """Read commands: a life to begin, or a process id to wait for."""
    for line in sys.stdin:
        command = json.loads(line)
        if isinstance(command, int):
            print(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]), flush=True)
        elif process := os.fork():
            print(process, flush=True)
        else:
            # the pipe to the tests is the parent's
            os.dup2(2, 1)
            os._exit(_live(Life(**command)))


def _live(life: Life) -> int:
    try:
        _prepare(life)
        if life.port is not None:
            _serve(life.port)
        else:
            _load()
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
        return 1
    return SURVIVED


def _prepare(life: Life) -> None:
    os.environ.update(
        API_KEY=KEY,
        BASE_URL=life.base_url,
        BUCKET_URL=life.bucket,
        **{"LOG_LEVEL": "WARNING", **(life.environment or {})},
    )
    # the parent may have looked for it already
    tempfile.tempdir = None
    vars(source_config).update(life.config or {})
    machine: Any = product_clock.SystemClock
    now = machine.time
    machine.time = lambda self: now(self) + 3600.0 * life.hours
    if life.chunk_bytes is not None:
        loader.destination.bucket.Bucket.chunk_bytes = life.chunk_bytes
    if life.notes is not None:
        Steps(Path(life.bucket), life.last_step, Path(life.notes)).install()


def _load() -> None:
    from loader import shell  # noqa: PLC0415 - in the child only

    log.install_for_a_person("WARNING")
    code = shell.main(["contacts", "--json"])
    if code:
        raise RuntimeError(f"The load failed with exit code {code}.")


def _serve(port: int) -> None:
    application = create_app(target="load", source=str(ROOT / "main.py"))  # type: ignore[no-untyped-call]
    make_server(ADDRESS, port, application, threaded=True).serve_forever()


__all__ = ["DIED", "SURVIVED", "Life", "Lives"]

if __name__ == "__main__":
    main()
