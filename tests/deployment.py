"""Runs of `deploy.sh` in a copy of the project, with the stub of gcloud on the PATH."""

import base64
import copy
import os
import pty
import shlex
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.gcloud_stub import Call, StubGcloud, on_path
from tests.fakes.google_cloud import ApiError, GoogleCloud, Json

ROOT = Path(__file__).parents[1]
KEY = "sesame-3f/9+c="
PROJECT = "sample-project"
NAME = "rest-api-loader"
URL = f"https://us-central1-{PROJECT}.cloudfunctions.net/{NAME}"
SCHEDULES = {"contacts": "5 * * * *", "conversations": "17 * * * *", "users": "22 3 * * *"}

BASH = str(shutil.which("bash"))
RUN, CALL, BUILD = (f"{NAME}-{part}@{PROJECT}.iam.gserviceaccount.com" for part in ("run", "call", "build"))
HERE = f"projects/{PROJECT}"
PLACE = f"{HERE}/locations/us-central1"
JOBS = f"{PLACE}/jobs"
FUNCTION = f"{PLACE}/functions/{NAME}"
SERVICE = f"{PLACE}/services/{NAME}"
SECRET = f"{HERE}/secrets/{NAME}-api-key"
QUEUE = f"{PLACE}/queues/{NAME}-tasks"
BUCKET = ("--destination", "filesystem", "--bucket", "sample-bucket")
OTHERS: list[Json] = [
    {"role": "roles/owner", "members": ["user:owner@example.com"]},
    {"role": "roles/bigquery.user", "members": ["group:analysts@example.com"]},
    {
        "role": "roles/viewer",
        "members": ["user:guest@example.com"],
        "condition": {
            "title": "for a while",
            "expression": 'request.time < timestamp("2030-01-01T00:00:00Z")',
        },
    },
]

PYTHON = """#!/usr/bin/env bash
[[ $* == "main.py --schedules" ]] || exit 64
printf '%s' "$(<complaint)" >&2
printf '%s\\n' "$(<schedules)"
exit "$(<status)"
"""
SLEEP = """#!/usr/bin/env bash
printf '%s\\n' "$1" >>"${0%/*}/slept"
"""


@dataclass(frozen=True)
class Run:
    """One run of deploy.sh."""

    status: int
    output: str
    """Its standard output."""
    messages: str
    """Its standard error."""
    calls: list[Call]
    """What it called gcloud with."""

    @property
    def changing(self) -> list[tuple[str, ...]]:
        """The arguments of the calls that change something."""
        return [call.arguments for call in self.calls if call.changes]

    @property
    def printed(self) -> list[tuple[str, ...]]:
        """The gcloud commands on its standard output, without the word gcloud."""
        lines = [shlex.split(line) for line in self.output.splitlines()]
        return [tuple(line[1:]) for line in lines if line[:1] == ["gcloud"]]

    @property
    def commands(self) -> list[str]:
        """The words of the calls that change something."""
        return [call.words for call in self.calls if call.changes]


@dataclass
class Deployment:
    """A copy of the project, and the Google Cloud project that it is deployed to."""

    folder: Path
    bindings: list[Json]
    """What the project's policy holds at first."""

    def __post_init__(self) -> None:
        self.stub = StubGcloud(GoogleCloud(PROJECT))
        self.start_anew()
        self.programs = self.folder / "programs"
        self.source = self.folder / "source"
        self.temporary = self.folder / "temporary"
        for folder in (self.programs, self.source, self.temporary):
            folder.mkdir()
        shutil.copy(ROOT / "deploy.sh", self.source)
        write_program(self.programs / "python", PYTHON)
        write_program(self.programs / "sleep", SLEEP)
        self.schedule(SCHEDULES)

    def schedule(self, schedules: Mapping[str, str], *, status: int = 0, complaint: str = "") -> None:
        """Set what `main.py --schedules` prints."""
        self.print_schedules("\n".join(f"{name}\t{cron}" for name, cron in schedules.items()))
        (self.source / "status").write_text(str(status))
        (self.source / "complaint").write_text(complaint)

    def print_schedules(self, text: str) -> None:
        """Set what `main.py --schedules` prints, right or wrong."""
        (self.source / "schedules").write_text(text)

    @property
    def cloud(self) -> GoogleCloud:
        """The Google Cloud project."""
        return self.stub.cloud

    def start_anew(self, cloud: GoogleCloud | None = None) -> None:
        """Deploy to another Google Cloud project of the same name; None: an empty one."""
        here = {f"projects/{PROJECT}": copy.deepcopy(self.bindings)}
        self.stub.cloud = cloud or GoogleCloud(PROJECT, policies=here)

    @property
    def slept(self) -> list[int]:
        """The seconds that were waited."""
        log = self.programs / "slept"
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        """The environment of deploy.sh."""
        return {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TMPDIR": str(self.temporary),
            "PYTHON": str(self.programs / "python"),
        }

    def run(self, *arguments: str, key: str | None = KEY, environment: Mapping[str, str] | None = None) -> Run:
        """Run deploy.sh for the sample project; None as the key: nothing comes on standard input."""
        return self.run_bare("--project", PROJECT, *arguments, key=key, environment=environment)

    def run_bare(self, *arguments: str, key: str | None = None, environment: Mapping[str, str] | None = None) -> Run:
        """Run deploy.sh with these arguments."""
        calls_before = len(self.stub.calls)
        finished = subprocess.run(
            [self.source / "deploy.sh", *arguments],
            input=(key or "").encode(),
            capture_output=True,
            check=False,
            env={**self.environment, **(environment or {})},
            cwd=self.folder,
        )
        return Run(
            finished.returncode,
            finished.stdout.decode(),
            finished.stderr.decode(),
            self.stub.calls[calls_before:],
        )

    def deploy(self, *arguments: str, key: str | None = KEY) -> Run:
        """Run deploy.sh, which must succeed."""
        run = self.run(*arguments, key=key)
        assert run.status == 0, run.messages
        return run


def write_program(path: Path, text: str) -> None:
    """Write a script that can be run."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@contextmanager
def stubbed_deployment(folder: Path, bindings: list[Json]) -> Iterator[Deployment]:
    """Give a deployment whose gcloud is the stub, to a project with these bindings."""
    deployment = Deployment(folder, bindings)
    with on_path(deployment.stub, deployment.programs):
        yield deployment


def bindings(cloud: GoogleCloud) -> dict[str, set[tuple[str, str, str]]]:
    """All bindings there are: member, role and expression of the condition, by what they are on."""
    return {
        name: {
            (member, binding["role"], binding.get("condition", {}).get("expression", ""))
            for binding in policy
            for member in binding["members"]
        }
        for name, policy in cloud.policies.items()
        if policy
    }


def names(cloud: GoogleCloud) -> set[str]:
    return set(cloud.resources)


def jobs(cloud: GoogleCloud) -> dict[str, Json]:
    return {name.rpartition("/")[2]: job for name, job in cloud.resources.items() if name.startswith(JOBS)}


def job(uri: str, body: str, **more: Any) -> Json:
    """A job that somebody made by hand."""
    target = {"uri": uri, "httpMethod": "POST", "body": base64.b64encode(body.encode()).decode()}
    return {"schedule": "0 0 * * *", "timeZone": "Etc/UTC", "httpTarget": target, **more}


def put_job(cloud: GoogleCloud, name: str, described: Json) -> Json:
    cloud.resources[f"{JOBS}/{name}"] = {"name": f"{JOBS}/{name}", **described}
    return cloud.resources[f"{JOBS}/{name}"]


def data_sets_condition(data_set: str = "analytics") -> str:
    both = (f"{HERE}/datasets/{data_set}", f"{HERE}/datasets/{data_set}_staging")
    return " || ".join(f'resource.name == "{one}" || resource.name.startsWith("{one}/")' for one in both)


OTHERS_IN_PROJECT = {
    ("user:owner@example.com", "roles/owner", ""),
    ("group:analysts@example.com", "roles/bigquery.user", ""),
    ("user:guest@example.com", "roles/viewer", 'request.time < timestamp("2030-01-01T00:00:00Z")'),
}
EVERYWHERE = {
    SECRET: {(f"serviceAccount:{RUN}", "roles/secretmanager.secretAccessor", "")},
    QUEUE: {(f"serviceAccount:{RUN}", "roles/cloudtasks.enqueuer", "")},
    f"{HERE}/serviceAccounts/{CALL}": {(f"serviceAccount:{RUN}", "roles/iam.serviceAccountUser", "")},
    SERVICE: {(f"serviceAccount:{CALL}", "roles/run.invoker", "")},
}
BUILDER = (f"serviceAccount:{BUILD}", "roles/cloudbuild.builds.builder", "")
ON_BIGQUERY = EVERYWHERE | {
    HERE: OTHERS_IN_PROJECT
    | {
        BUILDER,
        (f"serviceAccount:{RUN}", "roles/bigquery.user", ""),
        (f"serviceAccount:{RUN}", "roles/bigquery.dataEditor", data_sets_condition()),
    }
}
ON_BUCKET = EVERYWHERE | {
    HERE: OTHERS_IN_PROJECT | {BUILDER},
    "b/sample-bucket": {
        (f"serviceAccount:{RUN}", "roles/storage.objectUser", ""),
        (f"serviceAccount:{RUN}", "roles/storage.legacyBucketReader", ""),
    },
}
MADE = {
    *(f"{HERE}/serviceAccounts/{account}" for account in (RUN, CALL, BUILD)),
    SECRET,
    QUEUE,
    FUNCTION,
    SERVICE,
    *(f"{JOBS}/{NAME}-{resource}" for resource in SCHEDULES),
}


def at_a_terminal(deployment: Deployment, typed: bytes, *arguments: str) -> tuple[int, str]:
    """Run deploy.sh at a terminal; give its exit code and what the terminal showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [deployment.source / "deploy.sh", "--project", PROJECT, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=deployment.environment,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    asked = False
    while chunk := read_terminal(master):
        shown += chunk
        if not asked and shown.endswith(b": "):
            asked = True
            os.write(master, typed)
    os.close(master)
    return process.wait(), shown.decode()


def read_terminal(master: int) -> bytes:
    """Read what is shown; nothing when the program has ended."""
    try:
        return os.read(master, 4096)
    except OSError:
        return b""


def fail_call(deployment: Deployment, number: int, code: int) -> Callable[[Call], ApiError | None]:
    """Fail one call, counted from here; its message holds the words of the other errors."""
    first = len(deployment.stub.calls)

    def fail(_: Call) -> ApiError | None:
        if len(deployment.stub.calls) - first != number:
            return None
        return ApiError(code, "It may not exist. ERROR: (gcloud.x) NOT_FOUND: not found: 404, status=[404].")

    return fail


def assert_stopped_at_once(run: Run, remedy: str) -> None:
    assert run.status == 1
    last_lines = [line for line in run.messages.splitlines() if line.startswith(" !     ")]
    assert run.messages.rstrip().endswith(last_lines[-1])
    assert last_lines[0].startswith(" !     Could not ")
    assert last_lines[1] == f" !     Found: {printed(run.calls[-1])}"
    assert "It may not exist." in last_lines[2]
    assert last_lines[-2].startswith(f" !     Do: {remedy}")
    assert last_lines[-1].startswith(f" !       ./deploy.sh --project {PROJECT}")
    assert KEY not in run.messages


def printed(call: Call) -> str:
    return subprocess.run(
        [BASH, "-c", QUOTE, "bash", "gcloud", *call.arguments], check=True, capture_output=True, text=True
    ).stdout


QUOTE = """
for word in "$@"; do
  [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word=${word@Q}
  line+="${line:+ }$word"
done
printf %s "$line"
"""


def assert_destroyed(cloud: GoogleCloud, before: Json, when: str = "") -> None:
    """All is as before, but for the services, and for the bucket, which has no bindings of ours."""
    state = cloud.state()
    state["resources"].pop("b/sample-bucket", None)
    state["policies"] = {name: policy for name, policy in state["policies"].items() if policy}
    assert state == before | {"enabled": state["enabled"]}, when
