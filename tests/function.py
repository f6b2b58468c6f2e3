"""The function as it is deployed: served by functions-framework, in a process of its own, on a free port."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import requests

from tests.local_server import ADDRESS

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
"""Longest wait for the function to listen; importing dlt takes some seconds on a busy machine."""
ANSWER_SECONDS = 120.0
"""Longest wait for an answer."""
STOP_SECONDS = 5.0
"""Longest wait for it to end when told; then it is killed."""


class Function:
    """Serves main.py of a folder. Of the caller's environment it has nothing but PATH."""

    def __init__(self, environment: Mapping[str, str], folder: Path = ROOT) -> None:
        self.url = ""
        self._environment = {"PATH": os.environ["PATH"], **environment}
        self._folder = folder

    def start(self) -> None:
        """Start it, and wait until it listens.

        Raises:
            RuntimeError: it ended instead, or does not listen in time; the message holds what it wrote.
        """
        port = free_port()
        self.url = f"http://{ADDRESS}:{port}"
        self._output = tempfile.NamedTemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = ["functions_framework", "--target", "load", "--host", ADDRESS, "--port", str(port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # a group of its own: its workers end with it, and Ctrl-C is for whoever has started it
            start_new_session=True,
        )
        try:
            self._wait(port)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and its workers."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    @property
    def output(self) -> str:
        """What it has written so far, on standard output and standard error."""
        return Path(self._output.name).read_text(errors="replace")

    def request(self, method: str, body: bytes = b"", **headers: str) -> requests.Response:
        """Send a request."""
        return requests.request(method, self.url, data=body, headers=headers, timeout=ANSWER_SECONDS)

    def post(self, body: Any, **headers: str) -> requests.Response:
        """Order a run; anything but bytes travels as JSON."""
        return self.request("POST", body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)

    def get(self) -> requests.Response:
        """Ask what is committed."""
        return self.request("GET")

    def _wait(self, port: int) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"The function ended with {self._process.returncode}:\n{self.output}")
            with suppress(OSError), socket.create_connection((ADDRESS, port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"The function did not listen within {START_SECONDS:.0f} s:\n{self.output}")


def free_port() -> int:
    """Give a port that is free now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


def project(folder: Path, *changes: tuple[str, str]) -> Path:
    """Make a folder with the product in it, and its source_config.py changed: pairs of old and new text."""
    folder.mkdir()
    shutil.copy(ROOT / "main.py", folder)
    (folder / "loader").symlink_to(ROOT / "loader")
    text = (ROOT / "source_config.py").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "source_config.py").write_text(text)
    return folder
