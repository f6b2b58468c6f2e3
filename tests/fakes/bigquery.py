"""BigQuery on 127.0.0.1: an emulator in an environment of its own, and a front before it that counts and fails."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.local_server import ADDRESS, Answer, LocalServer, Request, json_answer

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venvs" / "bigquery" / "bin" / "python"
"""Of the emulator's environment; `make test` makes it."""
PROJECT = "test-project"
START_SECONDS = 60.0


class Emulator:
    """The emulator, as a process on a free port, with a folder of its own."""

    def __init__(self, folder: Path, port: int, grpc_port: int) -> None:
        self._folder = folder
        self.port = port
        self._grpc_port = grpc_port

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        self._log = (self._folder / "log.txt").open("wb")
        launcher = Path(__file__).with_name("bigquery_launcher.py")
        self._process = subprocess.Popen(
            [PYTHON, launcher, str(self.port), str(self._grpc_port), PROJECT, self._folder / "data"],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
            cwd=self._folder,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _wait(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            connection = HTTPConnection(ADDRESS, self.port, timeout=5)
            try:
                connection.request("GET", f"/bigquery/v2/projects/{PROJECT}/datasets")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        raise RuntimeError("The BigQuery emulator did not start:\n" + (self._folder / "log.txt").read_text())


@dataclass(frozen=True, slots=True)
class Call:
    """A request, in BigQuery's words."""

    kind: str
    """`query` or `load` (a job is made), `upload` (a file is announced), `job`, `rows`, `table`, `dataset` or empty."""
    table: str = ""
    """Table that a job loads into, or that is spoken of, as `data_set.table`."""
    sql: str = ""
    job_id: str = ""

    @property
    def is_merge(self) -> bool:
        """Whether it is the script of a merge."""
        return self.kind == "query" and "DELETE FROM" in self.sql and "INSERT INTO" in self.sql


Meddling = Callable[[Call, Request], Answer | None]


class BigQueryFront(LocalServer):
    """Stands before the emulator: passes everything on, counts the jobs, and lets a test meddle."""

    def __init__(self, emulator_port: int, port: int = 0) -> None:
        super().__init__(port)
        self.emulator_port = emulator_port
        self.jobs: list[Call] = []
        """Jobs that were made, in their order."""
        self.meddle: Meddling = lambda _call, _request: None
        """Gives an answer of its own to a request, or None; it may also wait."""
        self._uploads: dict[str, Call] = {}

    def reset(self) -> None:
        """Forget what was, and meddle no more."""
        self.meddle = lambda _call, _request: None
        self.jobs = []

    @property
    def queries(self) -> list[Call]:
        """Query jobs that were made."""
        return [job for job in self.jobs if job.kind == "query"]

    @property
    def loads(self) -> list[Call]:
        """Load jobs that were made."""
        return [job for job in self.jobs if job.kind == "load"]

    def answer(self, request: Request) -> Answer:
        """Pass a request on."""
        call = self._call(request)
        answer = self.meddle(call, request)
        if answer is None:
            answer = self.pass_on(request)
        if answer.status == 200 and call.kind == "upload":
            upload_id = parse_qs(urlsplit(answer.headers["location"]).query)["upload_id"][0]
            self._uploads[upload_id] = call
        if answer.status == 200 and call.kind in ("query", "load"):
            with self._lock:
                self.jobs.append(call)
        return answer

    def pass_on(self, request: Request) -> Answer:
        """Give the emulator's answer to a request."""
        connection = HTTPConnection(ADDRESS, self.emulator_port, timeout=120)
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        try:
            target = request.path + (f"?{urlencode(request.query)}" if request.query else "")
            connection.request(request.method, target, request.body, headers)
            response = connection.getresponse()
            kept = {name.lower(): value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
            return Answer(response.status, response.read(), kept)
        finally:
            connection.close()

    def _call(self, request: Request) -> Call:
        if request.path.startswith("/upload/") and request.method == "PUT":
            return replace(self._uploads[request.query["upload_id"]], kind="load")
        if request.path.endswith("/jobs") and request.method == "POST":
            return _job(json.loads(request.body))
        if found := PATHS.fullmatch(request.path):
            what, name, table = found.groups()
            if what == "datasets":
                return Call("table", f"{name}.{table}") if table else Call("dataset", name)
            return Call("job" if what == "jobs" else "rows", job_id=name)
        return Call("dataset" if request.path.endswith("/datasets") else "")


PATHS = re.compile(r"/bigquery/v2/projects/[^/]+/(datasets|jobs|queries)/([^/]+)(?:/tables/?([^/]*))?")
HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "accept-encoding"}


def _job(body: dict[str, Any]) -> Call:
    configuration, job_id = body["configuration"], body.get("jobReference", {}).get("jobId", "")
    if "query" in configuration:
        return Call("query", sql=configuration["query"]["query"], job_id=job_id)
    table = configuration["load"]["destinationTable"]
    return Call("upload", f"{table['datasetId']}.{table['tableId']}", job_id=job_id)


def refusal(reason: str, status: int = 403) -> Answer:
    """Give the answer of BigQuery when it refuses."""
    message = f"Told to refuse: {reason}"
    errors = [{"reason": reason, "message": message, "domain": "global"}]
    return json_answer({"error": {"code": status, "message": message, "errors": errors}}, status)
