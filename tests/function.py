"""The function as it is served: functions-framework in a process of its own, with an environment of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import requests

from tests.local_server import ADDRESS

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
"""Longest wait for the function to answer at all; importing dlt takes some seconds on a busy machine."""
ANSWER_SECONDS = 120.0
"""Longest wait for an answer."""


class Function:
    """The product's main.py, served on a free port."""

    def __init__(self, environment: Mapping[str, str], log: Path, folder: Path = ROOT) -> None:
        """Prepare it.

        Args:
            environment: all of it, but for PATH.
            log: gets what it writes, after what is there.
            folder: where it works; a source_config.py in it is used instead of the project's.
        """
        self.port = free_port()
        self._environment = {"PATH": os.environ["PATH"], **environment}
        self._log = log
        self._folder = folder

    @property
    def url(self) -> str:
        """Where it is served."""
        return f"http://{ADDRESS}:{self.port}"

    @property
    def log(self) -> str:
        """What it has written so far, on standard output and standard error."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: it does not; the message holds what it wrote.
        """
        command = [sys.executable, "-m", "functions_framework", "--source", str(ROOT / "main.py"), "--target", "load"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host", ADDRESS, "--port", str(self.port)],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a group of its own: its workers end with it, and Ctrl-C is for whoever has started it
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it as a platform does that has had enough: SIGKILL, in the middle of whatever it does."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.kill()

    def request(
        self, method: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """Send a request."""
        return requests.request(method, self.url, data=body, headers=headers, timeout=ANSWER_SECONDS)

    def post(self, body: Any) -> requests.Response:
        """Order a run; anything but bytes travels as JSON."""
        return self.request("POST", body if isinstance(body, bytes) else json.dumps(body).encode())

    def get(self) -> requests.Response:
        """Ask what is committed."""
        return self.request("GET")

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            # a method that means nothing is answered once all is imported, and touches nothing
            with suppress(requests.ConnectionError):
                self.request("DELETE")
                return
            time.sleep(0.02)
        raise RuntimeError(f"The function did not start:\n{self.log}")


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        port: int = listener.getsockname()[1]
        return port
