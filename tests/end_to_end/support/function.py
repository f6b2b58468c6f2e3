"""The function as it is served: functions-framework in a process of its own, with an environment of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.local_server import ADDRESS
from tests.sample_api import KEY, SampleApi

ROOT = Path(__file__).parents[3]
START_SECONDS = 30.0
ANSWER_SECONDS = 60.0
"""Longest wait of a test for an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function answered."""

    code: int
    body: dict[str, Any]
    seconds: float
    """From the request to the answer, as the caller saw it."""

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Function:
    """A function that is being served."""

    def __init__(self, folder: Path, environment: Mapping[str, str], config: str) -> None:
        """Start it.

        Args:
            folder: where it works: its source_config.py, its temporary files and its log.
            environment: all of it.
            config: text of its source_config.py.
        """
        self.folder = folder
        self.temporary = folder / "tmp"
        """Where its working folders are made: the disk of its machine."""
        self._log = folder / "log.txt"
        self.temporary.mkdir(parents=True, exist_ok=True)
        (folder / "source_config.py").write_text(config)
        self.port = free_port()
        command = [sys.executable, "-m", "functions_framework", "--source", str(ROOT / "main.py"), "--target", "load"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host", ADDRESS, "--port", str(self.port)],
                cwd=folder,
                env={**environment, "TMPDIR": str(self.temporary)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://{ADDRESS}:{self.port}/"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def load(self, resource: str = "contacts", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """Ask it to run a resource; `fields` are those of the request."""
        return self.ask("POST", {"resource": resource, **fields}, headers)

    def status(self) -> Answer:
        """Ask what is committed."""
        return self.ask("GET")

    def ask(self, method: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send it a request."""
        connection = HTTPConnection(ADDRESS, self.port, timeout=ANSWER_SECONDS)
        began = time.monotonic()
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, "/", text, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()), time.monotonic() - began)
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a platform does that has had enough: SIGKILL, in the middle of whatever it does."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            # a method that means nothing is answered once all is imported, and touches nothing
            with suppress(ConnectionError, json.JSONDecodeError):
                self.ask("DELETE")
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"The function did not start:\n{self.log}")


@contextmanager
def serving(
    api: SampleApi,
    folder: Path,
    *,
    config: str | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: str | int,
) -> Iterator[Function]:
    """Serve the function, loading the sample API into `folder/bucket`.

    Args:
        api: what it reads.
        folder: for its files; several functions may share it if they are served one after the other.
        config: text of source_config.py; the project's own, reading one page after the other, if not given.
        environment: instead of nothing but a PATH, under the settings.
        settings: variables of its environment.
    """
    variables: dict[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **(environment or {}),
        "API_KEY": KEY,
        "BASE_URL": api.url,
        "BUCKET_URL": str(folder / "bucket"),
        **{name: str(value) for name, value in settings.items()},
    }
    function = Function(folder / "function", variables, config or own_config())
    try:
        yield function
    finally:
        function.kill()


def own_config(pages_in_flight: int = 1) -> str:
    """Give the text of the project's own source_config.py, with so many pages in flight."""
    text = (ROOT / "source_config.py").read_text()
    return re.sub(r"PAGES_IN_FLIGHT = \d+", f"PAGES_IN_FLIGHT = {pages_in_flight}", text)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        port: int = listener.getsockname()[1]
        return port
