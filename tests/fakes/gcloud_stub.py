"""A stub of gcloud, quick and strict about its arguments: it does to a `GoogleCloud` what gcloud would.

The program on the PATH is some lines of shell that hand everything over to a thread of the test.
"""

import base64
import json
import re
import socketserver
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.google_cloud import ApiError, GoogleCloud, Json

PROGRAM = """#!/usr/bin/env bash
exec 3<>/dev/tcp/127.0.0.1/{port}
given=""
case " $* " in *" --data-file=- "*) IFS= read -r -d '' given ;; esac
{{ printf '%s\\0' "$#" "$@" "$given"; export -p; printf '\\0\\1\\0'; }} >&3
IFS= read -r -d '' status <&3
IFS= read -r -d '' answer <&3
IFS= read -r -d '' problem <&3
printf '%s' "$answer"
printf '%s' "$problem" >&2
exit "$status"
"""

END = b"\0\1\0"
POLICY_FLAGS = {"member", "role", "condition", "all"}
READ_POLICY_FLAGS = {"flatten", "format"}
QUEUE_FLAGS = {"max-concurrent-dispatches", "max-attempts", "min-backoff", "max-backoff", "max-doublings"}
JOB_FLAGS = {
    "schedule",
    "time-zone",
    "uri",
    "http-method",
    "message-body",
    "attempt-deadline",
    "max-retry-attempts",
    "min-backoff",
    "max-backoff",
    "oidc-service-account-email",
    "oidc-token-audience",
}
DEPLOY_FLAGS = {
    "gen2",
    "runtime",
    "source",
    "entry-point",
    "trigger-http",
    "no-allow-unauthenticated",
    "timeout",
    "memory",
    "concurrency",
    "max-instances",
    "service-account",
    "build-service-account",
    "set-env-vars",
}
# What gcloud 528 takes, with --project: its words, where it wants to be told the place, and its flags.
COMMANDS: dict[str, tuple[str, set[str]]] = {
    "services enable": ("", set()),
    "functions regions list": ("", {"gen2", "format"}),
    "functions describe": ("region", {"gen2", "format"}),
    "functions deploy": ("region", DEPLOY_FLAGS),
    "functions delete": ("region", {"gen2"}),
    "tasks locations list": ("", {"format"}),
    "tasks queues describe": ("location", {"format"}),
    "tasks queues create": ("location", QUEUE_FLAGS),
    "tasks queues update": ("location", QUEUE_FLAGS),
    "tasks queues delete": ("location", set()),
    "tasks queues get-iam-policy": ("location", READ_POLICY_FLAGS),
    "tasks queues add-iam-policy-binding": ("location", {"member", "role"}),
    "scheduler locations list": ("", {"format"}),
    "scheduler jobs list": ("location", {"format"}),
    "scheduler jobs create http": ("location", JOB_FLAGS | {"headers"}),
    "scheduler jobs update http": ("location", JOB_FLAGS | {"update-headers"}),
    "scheduler jobs delete": ("location", set()),
    "secrets describe": ("", {"format"}),
    "secrets create": ("", {"replication-policy", "labels"}),
    "secrets delete": ("", set()),
    "secrets versions list": ("", {"format"}),
    "secrets versions add": ("", {"data-file"}),
    "secrets get-iam-policy": ("", READ_POLICY_FLAGS),
    "secrets add-iam-policy-binding": ("", POLICY_FLAGS - {"all"}),
    "secrets remove-iam-policy-binding": ("", POLICY_FLAGS),
    "iam service-accounts describe": ("", {"format"}),
    "iam service-accounts create": ("", {"display-name"}),
    "iam service-accounts delete": ("", set()),
    "iam service-accounts get-iam-policy": ("", READ_POLICY_FLAGS),
    "iam service-accounts add-iam-policy-binding": ("", POLICY_FLAGS - {"all"}),
    "storage buckets describe": ("", {"format"}),
    "storage buckets create": ("", {"location", "uniform-bucket-level-access", "public-access-prevention"}),
    "storage buckets get-iam-policy": ("", READ_POLICY_FLAGS),
    "storage buckets add-iam-policy-binding": ("", POLICY_FLAGS - {"all"}),
    "storage buckets remove-iam-policy-binding": ("", POLICY_FLAGS),
    "projects get-iam-policy": ("", READ_POLICY_FLAGS),
    "projects add-iam-policy-binding": ("", POLICY_FLAGS - {"all"}),
    "projects remove-iam-policy-binding": ("", POLICY_FLAGS),
    "run services get-iam-policy": ("region", READ_POLICY_FLAGS),
    "run services add-iam-policy-binding": ("region", POLICY_FLAGS - {"all"}),
}
CHANGING = re.compile(
    r" (enable|create|update|deploy|delete|add|add-iam-policy-binding|remove-iam-policy-binding)( http)?$"
)


@dataclass(frozen=True)
class Call:
    """One call of gcloud."""

    arguments: tuple[str, ...]
    standard_input: str
    environment: str
    """All of it, as `declare -x NAME="value"` lines."""

    @property
    def words(self) -> str:
        """The command, without what it is about."""
        for count in (4, 3, 2):
            words = " ".join(self.arguments[:count])
            if words in COMMANDS:
                return words
        return " ".join(self.arguments)

    @property
    def subjects(self) -> tuple[str, ...]:
        """What it is about."""
        rest = self.arguments[len(self.words.split()) :]
        return tuple(argument for argument in rest if not argument.startswith("--"))

    @property
    def flags(self) -> dict[str, str]:
        """The flags with their values."""
        found = [argument[2:].partition("=") for argument in self.arguments if argument.startswith("--")]
        return {name: value for name, _, value in found}

    @property
    def changes(self) -> bool:
        """Whether it changes something."""
        return bool(CHANGING.search(self.words))


class UsageError(Exception):
    """The arguments are not gcloud's."""


@dataclass
class StubGcloud:
    """Runs gcloud's commands against a project, and keeps what it was called with."""

    cloud: GoogleCloud
    calls: list[Call] = field(default_factory=list)
    fail: Callable[[Call], ApiError | None] | None = None
    """What to answer instead of doing it."""
    fail_after: Callable[[Call], ApiError | None] | None = None
    """What to answer although it was done."""

    def run(self, call: Call) -> tuple[int, str, str]:
        """Give exit code, standard output and standard error of one call."""
        self.calls.append(call)
        name = call.words.replace(" ", ".")
        try:
            check_arguments(call, self.cloud.project)
            answer = "" if self._refuse(self.fail, call) else self._answer(call)
            self._refuse(self.fail_after, call)
        except UsageError as error:
            return 2, "", f"ERROR: (gcloud.{name}) {error}\n"
        except ApiError as error:
            return 1, "", f"ERROR: (gcloud.{name}) {problem(call, error)}\n"
        return 0, answer, ""

    def _refuse(self, fault: Callable[[Call], ApiError | None] | None, call: Call) -> bool:
        if fault and (error := fault(call)):
            raise error
        return False

    def _answer(self, call: Call) -> str:
        *_, verb = call.words.removesuffix(" http").split()
        if verb.endswith(("-iam-policy", "-iam-policy-binding")):
            return self._policy(call, verb)
        reply = Commands(self.cloud, call).run()
        return formatted(reply, call.flags["format"]) if "format" in call.flags else ""

    def _policy(self, call: Call, verb: str) -> str:
        place, path = Commands(self.cloud, call).place_and_path()
        on = (
            place,
            "GET" if place == "storage" else "POST",
            f"{path}/iam" if place == "storage" else f"{path}:getIamPolicy",
        )
        policy = self.cloud.call(*on)
        if verb == "get-iam-policy":
            rows = [
                {"bindings": binding | {"members": member}}
                for binding in policy["bindings"]
                for member in binding["members"]
            ]
            return formatted(rows, call.flags["format"])
        (add if verb.startswith("add") else remove)(policy["bindings"], call.flags)
        if place == "storage":
            self.cloud.call("storage", "PUT", f"{path}/iam", body=policy)
        else:
            self.cloud.call(place, "POST", f"{path}:setIamPolicy", body={"policy": policy})
        return ""


def check_arguments(call: Call, project: str) -> None:
    """Check that gcloud would take it."""
    if call.words not in COMMANDS:
        raise UsageError(f"Invalid choice: {call.words}")
    place, flags = COMMANDS[call.words]
    unknown = call.flags.keys() - flags - {"project", place}
    missing = {"project", place} - {""} - call.flags.keys()
    if unknown or missing:
        raise UsageError(f"unrecognized: {sorted(unknown)}, missing: {sorted(missing)}")
    if call.flags["project"] != project:
        raise UsageError(f"Not the project of this test: {call.flags['project']}")


def problem(call: Call, error: ApiError) -> str:
    """Word an error as gcloud does, which depends on the command."""
    message = error.message
    if call.words.startswith("functions ") and not call.words.startswith("functions regions"):
        return f"ResponseError: status=[{error.code}], code=[Ok], message=[{message}]"
    if call.words.startswith("storage buckets") and error.code == 404:
        return f"{call.subjects[0]} not found: 404."
    if error.code == 403 and call.words in {
        "services enable",
        "functions regions list",
        "storage buckets describe",
    }:
        return f"[None] does not have permission to access p instance [p] (or it may not exist): {message}"
    reason = f"\n- '@type': type.googleapis.com/google.rpc.ErrorInfo\n  reason: {error.reason}" if error.reason else ""
    return f"{error.status}: {message}{reason}"


def add(bindings: list[Json], flags: dict[str, str]) -> None:
    """Add a binding, with the strictness of gcloud where it can't ask."""
    condition = parse_condition(flags)
    if "condition" not in flags and any("condition" in binding for binding in bindings):
        raise ApiError(
            400,
            "Adding a binding without specifying a condition to a policy containing conditions is prohibited",
        )
    for binding in bindings:
        if binding["role"] == flags["role"] and binding.get("condition") == condition:
            if flags["member"] not in binding["members"]:
                binding["members"].append(flags["member"])
            return
    bindings.append(
        {"role": flags["role"], "members": [flags["member"]]} | ({"condition": condition} if condition else {})
    )


def remove(bindings: list[Json], flags: dict[str, str]) -> None:
    """Remove a binding; one that is not there is an error."""
    found = [
        binding
        for binding in bindings
        if binding["role"] == flags["role"]
        and flags["member"] in binding["members"]
        and ("all" in flags or binding.get("condition") == parse_condition(flags))
    ]
    if not found:
        raise ApiError(404, "Policy binding with the specified principal, role, and condition not found!")
    for binding in found:
        binding["members"].remove(flags["member"])


def parse_condition(flags: dict[str, str]) -> Json | None:
    """Read --condition; None: there is none."""
    text = flags.get("condition", "None")
    return None if text == "None" else dict(part.partition("=")[::2] for part in text.split(","))


@dataclass
class Commands:
    """What the commands ask of the APIs."""

    cloud: GoogleCloud
    call: Call

    def run(self) -> Any:
        """Do it."""
        return getattr(self, re.sub(r"\W", "_", self.call.words))()

    @property
    def parent(self) -> str:
        """Project, or place in it."""
        flags = self.call.flags
        location = flags.get("location", flags.get("region"))
        return f"projects/{flags['project']}" + (f"/locations/{location}" if location else "")

    def place_and_path(self) -> tuple[str, str]:
        """Give the service and the path of what the command is about."""
        subject = self.call.subjects[0]
        group = " ".join(self.call.words.removesuffix(" http").split()[:-1])
        return {
            "projects": ("cloudresourcemanager", f"v1/projects/{subject}"),
            "secrets": ("secretmanager", f"v1/{self.parent}/secrets/{subject}"),
            "secrets versions": ("secretmanager", f"v1/{self.parent}/secrets/{subject}"),
            "iam service-accounts": ("iam", f"v1/projects/-/serviceAccounts/{subject}"),
            "tasks queues": ("cloudtasks", f"v2/{self.parent}/queues/{subject}"),
            "scheduler jobs": ("cloudscheduler", f"v1/{self.parent}/jobs/{subject}"),
            "scheduler jobs create": ("cloudscheduler", f"v1/{self.parent}/jobs/{subject}"),
            "run services": ("run", f"v1/{self.parent}/services/{subject}"),
            "storage buckets": ("storage", f"storage/v1/b/{subject.removeprefix('gs://')}"),
            "functions": ("cloudfunctions", f"v2/{self.parent}/functions/{subject}"),
        }[group]

    def ask(self, method: str, body: Json | None = None, query: Json | None = None) -> Json:
        """Ask about what the command is about."""
        service, path = self.place_and_path()
        return self.cloud.call(service, method, path, query, body)

    def services_enable(self) -> Any:
        path = f"v1/{self.parent}/services:batchEnable"
        return self.cloud.call("serviceusage", "POST", path, body={"serviceIds": list(self.call.subjects)})

    def functions_regions_list(self) -> Any:
        return self.cloud.call("cloudfunctions", "GET", f"v2/{self.parent}/locations")["locations"]

    def tasks_locations_list(self) -> Any:
        return self.cloud.call("cloudtasks", "GET", f"v2/{self.parent}/locations")["locations"]

    def scheduler_locations_list(self) -> Any:
        return self.cloud.call("cloudscheduler", "GET", f"v1/{self.parent}/locations")["locations"]

    def functions_describe(self) -> Any:
        return [self.ask("GET")]

    def functions_delete(self) -> Any:
        return self.ask("DELETE")

    def functions_deploy(self) -> Any:
        flags = self.call.flags
        delimiter, variables = flags["set-env-vars"][1], flags["set-env-vars"][3:]
        body: dict[str, Json] = {
            "buildConfig": {
                "runtime": flags["runtime"],
                "entryPoint": flags["entry-point"],
                "serviceAccount": flags["build-service-account"],
            },
            "serviceConfig": {
                "availableMemory": flags["memory"],
                "timeoutSeconds": int(flags["timeout"].removesuffix("s")),
                "maxInstanceCount": int(flags["max-instances"]),
                "maxInstanceRequestConcurrency": int(flags["concurrency"]),
                "serviceAccountEmail": flags["service-account"],
                "environmentVariables": dict(text.partition("=")[::2] for text in variables.split(delimiter)),
            },
        }
        try:
            self.ask("GET")
        except ApiError as error:
            if error.code != 404:
                raise
            path = f"v2/{self.parent}/functions"
            return self.cloud.call("cloudfunctions", "POST", path, {"functionId": self.call.subjects[0]}, body)
        fields = [f"{part}.{name}" for part, names in body.items() for name in names]
        return self.ask("PATCH", body, {"updateMask": ",".join(fields)})

    def tasks_queues_describe(self) -> Any:
        return [self.ask("GET")]

    def tasks_queues_create(self) -> Any:
        body = {"name": f"{self.parent}/queues/{self.call.subjects[0]}"} | self._queue_settings()
        return self.cloud.call("cloudtasks", "POST", f"v2/{self.parent}/queues", body=body)

    def tasks_queues_update(self) -> Any:
        return self.ask("PATCH", self._queue_settings())

    def tasks_queues_delete(self) -> Any:
        return self.ask("DELETE")

    def _queue_settings(self) -> Json:
        flags = self.call.flags
        return {
            "rateLimits": {"maxConcurrentDispatches": int(flags["max-concurrent-dispatches"])},
            "retryConfig": {
                "maxAttempts": int(flags["max-attempts"]),
                "minBackoff": flags["min-backoff"],
                "maxBackoff": flags["max-backoff"],
                "maxDoublings": int(flags["max-doublings"]),
            },
        }

    def scheduler_jobs_list(self) -> Any:
        jobs = json.loads(json.dumps(self.cloud.call("cloudscheduler", "GET", f"v1/{self.parent}/jobs")["jobs"]))
        for job in jobs:
            target = job.get("httpTarget", {})
            target["body"] = target.get("body", "").replace("+", "-").replace("/", "_")
        return jobs

    def scheduler_jobs_create_http(self) -> Any:
        body = {"name": f"{self.parent}/jobs/{self.call.subjects[0]}"} | self._job("headers")
        return self.cloud.call("cloudscheduler", "POST", f"v1/{self.parent}/jobs", body=body)

    def scheduler_jobs_update_http(self) -> Any:
        job = f"{self.parent}/jobs/{self.call.subjects[0]}"
        return self.cloud.call("cloudscheduler", "PATCH", f"v1/{job}", body=self._job("update-headers"))

    def scheduler_jobs_delete(self) -> Any:
        return self.ask("DELETE")

    def _job(self, headers: str) -> Json:
        flags = self.call.flags
        name, _, value = flags[headers].partition("=")
        return {
            "schedule": flags["schedule"],
            "timeZone": flags["time-zone"],
            "attemptDeadline": flags["attempt-deadline"],
            "httpTarget": {
                "uri": flags["uri"],
                "httpMethod": flags["http-method"],
                "headers": {name: value},
                "body": base64.b64encode(flags["message-body"].encode()).decode(),
                "oidcToken": {
                    "serviceAccountEmail": flags["oidc-service-account-email"],
                    "audience": flags["oidc-token-audience"],
                },
            },
            "retryConfig": {
                "retryCount": int(flags["max-retry-attempts"]),
                "minBackoffDuration": flags["min-backoff"],
                "maxBackoffDuration": flags["max-backoff"],
                "maxDoublings": 5,
            },
        }

    def secrets_describe(self) -> Any:
        return [self.ask("GET")]

    def secrets_create(self) -> Any:
        name, _, value = self.call.flags["labels"].partition("=")
        body = {"labels": {name: value}, "replication": {"automatic": {}}}
        query = {"secretId": self.call.subjects[0]}
        return self.cloud.call("secretmanager", "POST", f"v1/{self.parent}/secrets", query, body)

    def secrets_delete(self) -> Any:
        return self.ask("DELETE")

    def secrets_versions_list(self) -> Any:
        service, path = self.place_and_path()
        versions = self.cloud.call(service, "GET", f"{path}/versions")["versions"]
        return [version | {"state": version["state"].lower()} for version in versions]

    def secrets_versions_add(self) -> Any:
        service, path = self.place_and_path()
        data = base64.b64encode(self.call.standard_input.encode()).decode()
        return self.cloud.call(service, "POST", f"{path}:addVersion", body={"payload": {"data": data}})

    def iam_service_accounts_describe(self) -> Any:
        return [self.ask("GET")]

    def iam_service_accounts_create(self) -> Any:
        account = {"displayName": self.call.flags["display-name"]}
        body = {"accountId": self.call.subjects[0], "serviceAccount": account}
        return self.cloud.call("iam", "POST", f"v1/{self.parent}/serviceAccounts", body=body)

    def iam_service_accounts_delete(self) -> Any:
        return self.ask("DELETE")

    def storage_buckets_describe(self) -> Any:
        return [self.ask("GET")]

    def storage_buckets_create(self) -> Any:
        flags = self.call.flags
        body = {
            "name": self.call.subjects[0].removeprefix("gs://"),
            "location": flags["location"],
            "iamConfiguration": {
                "publicAccessPrevention": "enforced" if "public-access-prevention" in flags else "inherited",
                "uniformBucketLevelAccess": {"enabled": "uniform-bucket-level-access" in flags},
            },
        }
        return self.cloud.call("storage", "POST", "storage/v1/b", {"project": flags["project"]}, body)


def formatted(rows: list[Json], wanted: str) -> str:
    """Print as gcloud does with --format=value(...)."""
    found = re.fullmatch(r'value(?:\[separator="(.)"\])?\((.+)\)', wanted)
    if not found:
        raise UsageError(f"Not a format of this stub: {wanted}")
    separator, fields = found[1] or "\t", found[2].split(",")
    return "".join(separator.join(_field(row, field_path) for field_path in fields) + "\n" for row in rows)


def _field(row: Json, path: str) -> str:
    value: Any = row
    last_part = path.endswith(".basename()")
    for part in path.removesuffix(".basename()").split("."):
        value = (value or {}).get(part)
    text = "" if value is None else str(value)
    return text.rpartition("/")[2] if last_part else text


@contextmanager
def on_path(stub: StubGcloud, folder: Path) -> Iterator[Path]:
    """Put the stub as a program into a folder, for as long as it is needed."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while not data.endswith(END):
                data += self.request.recv(1 << 16)
            count, *fields, given, environment = data.removesuffix(END).decode().split("\0")
            assert int(count) == len(fields)
            for part in stub.run(Call(tuple(fields), given, environment)):
                self.request.sendall(str(part).encode() + b"\0")

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        program = folder / "gcloud"
        program.write_text(PROGRAM.format(port=server.server_address[1]))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        try:
            yield program
        finally:
            server.shutdown()
            thread.join()
