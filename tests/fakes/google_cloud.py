"""A Google Cloud project in memory: what `deploy.sh` asks of ten Google APIs, answered by their rules.

Two ways lead to it: `GoogleApis`, for the real gcloud, and the stub of gcloud.
"""

import base64
import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.fakes.google_error import STATUS_NAMES
from tests.local_server import Answer, LocalServer, Request, json_answer

Json = dict[str, Any]
Fault = Callable[[str], "ApiError | None"]
"""Given `service METHOD path`, the error to answer instead."""

SERVICES = (
    "artifactregistry",
    "bigquery",
    "cloudbuild",
    "cloudfunctions",
    "cloudscheduler",
    "cloudtasks",
    "iam",
    "run",
    "secretmanager",
    "storage",
)
LOCATED = ("cloudfunctions", "cloudtasks", "cloudscheduler")
PROJECT_NUMBER = "123456789012"
OPERATION = {"@type": "type.googleapis.com/google.cloud.functions.v2.OperationMetadata"}


class ApiError(Exception):
    """An API refused."""

    def __init__(self, code: int, message: str, status: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_NAMES[code]
        self.reason = reason

    def body(self) -> Json:
        """The error as Google's APIs write it."""
        error: Json = {"code": self.code, "message": self.message, "status": self.status}
        if self.reason:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": self.reason, "domain": "googleapis.com"}]
        return {"error": error}


@dataclass
class GoogleCloud:
    """One project and what is in it."""

    project: str = "sample-project"
    enabled: set[str] = field(default_factory=set)
    """Services that are enabled; the others answer 403 SERVICE_DISABLED."""
    regions: dict[str, list[str]] = field(
        default_factory=lambda: {service: ["europe-west1", "us-central1"] for service in LOCATED}
    )
    """Regions by service."""
    resources: dict[str, Json] = field(default_factory=dict)
    """What exists, by its full name."""
    policies: dict[str, list[Json]] = field(default_factory=dict)
    """IAM bindings, by the full name of what they are on."""
    versions: dict[str, list[Json]] = field(default_factory=dict)
    """Versions of each secret, the oldest first."""
    archives: list[bytes] = field(default_factory=list)
    """Uploaded zips, the newest last."""
    requests: list[str] = field(default_factory=list)
    """`service METHOD path` of every call that was answered."""
    changes: list[str] = field(default_factory=list)
    """Those among them that changed something."""
    fault: Fault | None = None
    grants_refused_at_first: int = 0
    """Grants to accounts that are refused as long as these are not known everywhere."""
    blocked_queues: set[str] = field(default_factory=set)
    """Names of deleted queues: blocked for up to three days."""
    function_url: str = ""
    """The address that a function gets, where it is not the usual one."""

    upload_base: str = ""
    """Where zips are uploaded to."""

    def __post_init__(self) -> None:
        self.policies.setdefault(
            f"projects/{self.project}", [{"role": "roles/owner", "members": ["user:owner@example.com"]}]
        )

    def state(self) -> Json:
        """All that exists, to compare before and after."""
        return copy.deepcopy(
            {
                "enabled": sorted(self.enabled),
                "resources": self.resources,
                "policies": {
                    name: sorted(json.dumps(binding, sort_keys=True) for binding in bindings)
                    for name, bindings in self.policies.items()
                },
                "versions": self.versions,
            }
        )

    def call(self, service: str, method: str, path: str, query: Json | None = None, body: Json | None = None) -> Json:
        """Answer one request, or raise `ApiError`."""
        path = path.replace("projects/-/", f"projects/{self.project}/")
        request = f"{service} {method} {path}"
        if self.fault and (refusal := self.fault(request)):
            raise refusal
        if service in SERVICES and service not in self.enabled:
            raise _disabled(service, self.project)
        for for_service, for_method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and for_service in {service, "any"} and for_method == method:
                reply = answer(self, *found.groups(), query=query or {}, body=body or {})
                self.requests.append(request)
                if method != "GET" and not path.endswith((":getIamPolicy", ":generateUploadUrl")):
                    self.changes.append(request)
                return reply
        raise ApiError(404, f"The sample cloud has no {request}.")

    # Anything that has a name.

    def get(self, name: str, **_: Json) -> Json:
        if name not in self.resources:
            raise ApiError(404, f"Resource {name} was not found.")
        return self.resources[name]

    def delete(self, name: str, **_: Json) -> Json:
        self.get(name)
        del self.resources[name]
        self.policies.pop(name, None)
        self.versions.pop(name, None)
        return {}

    def patch(self, name: str, *, query: Json, body: Json) -> Json:
        resource = self.get(name)
        for field_path in query.get("updateMask", ",".join(body)).split(","):
            *parents, last = [re.sub(r"_(.)", lambda m: m[1].upper(), part) for part in field_path.split(".")]
            source, target = body, resource
            for parent in parents:
                source, target = source.get(parent, {}), target.setdefault(parent, {})
            if last in source:
                target[last] = source[last]
            else:
                target.pop(last, None)
        return resource

    def _create(self, name: str, resource: Json) -> Json:
        if name in self.resources:
            raise ApiError(409, f"Resource {name} already exists.")
        self.resources[name] = {"name": name} | resource
        return self.resources[name]

    # IAM policies.

    def get_policy(self, name: str, **_: Json) -> Json:
        if name != f"projects/{self.project}":
            self.get(name)
        return {"version": 3, "etag": "BwXY", "bindings": copy.deepcopy(self.policies.get(name, []))}

    def set_policy(self, name: str, *, body: Json, **_: Json) -> Json:
        bindings = body.get("policy", body).get("bindings", [])
        self._check_members(name, bindings)
        self.policies[name] = [binding for binding in bindings if binding.get("members")]
        return self.get_policy(name)

    def _check_members(self, name: str, bindings: list[Json]) -> None:
        before = {member for binding in self.policies.get(name, []) for member in binding["members"]}
        for member in {member for binding in bindings for member in binding.get("members", [])} - before:
            email = member.removeprefix("serviceAccount:")
            known = f"projects/{self.project}/serviceAccounts/{email}" in self.resources
            if member.startswith("serviceAccount:") and (not known or self.grants_refused_at_first):
                self.grants_refused_at_first = max(0, self.grants_refused_at_first - 1)
                raise ApiError(400, f"Service account {email} does not exist.")

    # Services and locations.

    def enable(self, _: str, *, body: Json, **__: Json) -> Json:
        self.enabled |= {service.removesuffix(".googleapis.com") for service in body["serviceIds"]}
        return {"name": "operations/acf.1", "done": True, "response": {}}

    def service(self, _: str, service: str, **__: Json) -> Json:
        return {"state": "ENABLED" if service in self.enabled else "DISABLED"}

    def project_facts(self, project: str, **_: Json) -> Json:
        return {"projectId": project, "projectNumber": PROJECT_NUMBER, "lifecycleState": "ACTIVE"}

    def locations(self, parent: str, *, service: str, **_: Json) -> Json:
        return {
            "locations": [
                {"name": f"{parent}/locations/{region}", "locationId": region} for region in self.regions[service]
            ]
        }

    # Service accounts, secrets, queues, jobs, buckets.

    def create_account(self, parent: str, *, body: Json, **_: Json) -> Json:
        email = f"{body['accountId']}@{self.project}.iam.gserviceaccount.com"
        return self._create(f"{parent}/serviceAccounts/{email}", body.get("serviceAccount", {}) | {"email": email})

    def delete_account(self, name: str, **_: Json) -> Json:
        """As the real one: bindings stay, for an account that is gone."""
        email = self.get(name)["email"]
        for bindings in self.policies.values():
            for binding in bindings:
                binding["members"] = [
                    f"deleted:{member}?uid=1" if member == f"serviceAccount:{email}" else member
                    for member in binding["members"]
                ]
        return self.delete(name)

    def create_secret(self, parent: str, *, query: Json, body: Json) -> Json:
        name = f"{parent}/secrets/{query['secretId']}"
        self.versions.setdefault(name, [])
        return self._create(name, body)

    def add_version(self, name: str, *, body: Json, **_: Json) -> Json:
        self.get(name)
        data = base64.b64decode(body["payload"]["data"]).decode()
        self.versions[name].append({"state": "ENABLED", "data": data})
        return {
            "name": f"{name}/versions/{len(self.versions[name])}",
            "state": "ENABLED",
            "clientSpecifiedPayloadChecksum": True,
        }

    def list_versions(self, name: str, **_: Json) -> Json:
        self.get(name)
        numbered = enumerate(self.versions[name], start=1)
        versions = [{"name": f"{name}/versions/{n}", "state": version["state"]} for n, version in numbered]
        return {"versions": versions[::-1]}

    def create_queue(self, parent: str, *, body: Json, **_: Json) -> Json:
        name = body["name"]
        if name in self.blocked_queues:
            message = "The queue cannot be created because a queue with this name existed too recently."
            raise ApiError(400, message, "FAILED_PRECONDITION")
        if not name.startswith(parent):
            raise ApiError(400, f"{name} is not in {parent}.")
        return self._create(name, {"state": "RUNNING"} | body)

    def delete_queue(self, name: str, **_: Json) -> Json:
        self.delete(name)
        self.blocked_queues.add(name)
        return {}

    def create_job(self, parent: str, *, body: Json, **_: Json) -> Json:
        if not body["name"].startswith(parent):
            raise ApiError(400, f"{body['name']} is not in {parent}.")
        return self._create(body["name"], {"state": "ENABLED"} | body)

    def list_jobs(self, parent: str, **_: Json) -> Json:
        return {"jobs": [job for name, job in self.resources.items() if name.startswith(f"{parent}/jobs/")]}

    def create_bucket(self, *, query: Json, body: Json) -> Json:
        if query["project"] != self.project:
            raise ApiError(403, f"Project {query['project']} is not yours.")
        return self._create(f"b/{body['name']}", body)

    # The function.

    def runtimes(self, _: str, **__: Json) -> Json:
        return {"runtimes": [{"name": name, "environment": "GEN_2"} for name in ("python313", "python314")]}

    def upload_url(self, parent: str, **_: Json) -> Json:
        source = {"bucket": "gcf-v2-uploads", "object": f"{len(self.archives)}.zip"}
        return {"uploadUrl": f"{self.upload_base}/upload/{parent}", "storageSource": source}

    def create_function(self, parent: str, *, query: Json, body: Json) -> Json:
        function_id = query["functionId"]
        region = parent.rsplit("/", 1)[1]
        service = f"{parent}/services/{function_id}"
        function = self._create(f"{parent}/functions/{function_id}", body)
        function |= {
            "environment": "GEN_2",
            "state": "ACTIVE",
            "url": self.function_url or f"https://{region}-{self.project}.cloudfunctions.net/{function_id}",
        }
        function["serviceConfig"] |= {"uri": f"https://{function_id}-k7w5x2-uc.a.run.app", "service": service}
        self._create(service, {})
        return self._operation(function)

    def patch_function(self, name: str, *, query: Json, body: Json) -> Json:
        return self._operation(self.patch(name, query=query, body=body))

    def delete_function(self, name: str, **_: Json) -> Json:
        service = self.get(name)["serviceConfig"]["service"]
        self.delete(service)
        self.delete(name)
        return self._operation({})

    def _operation(self, response: Json) -> Json:
        kind = {"@type": "type.googleapis.com/google.cloud.functions.v2.Function"} if response else {}
        operation = f"projects/{self.project}/locations/us-central1/operations/1"
        return {"name": operation, "done": True, "metadata": OPERATION, "response": kind | response}

    def operation(self, _: str, **__: Json) -> Json:
        return self._operation({})


def _disabled(service: str, project: str) -> ApiError:
    message = (
        f"{service} API has not been used in project {project} before or it is disabled. Enable it by"
        f" visiting https://console.developers.google.com/apis/api/{service}.googleapis.com/overview?project={project}"
        " then retry."
    )
    return ApiError(403, message, reason="SERVICE_DISABLED")


_PROJECT = r"(projects/[^/:]+)"
_PLACE = r"(projects/[^/]+/locations/[^/]+)"
_ACCOUNT = r"(projects/[^/]+/serviceAccounts/[^/:]+)"
_SECRET = r"(projects/[^/]+/secrets/[^/:]+)"
_QUEUE = r"(projects/[^/]+/locations/[^/]+/queues/[^/:]+)"
_JOB = r"(projects/[^/]+/locations/[^/]+/jobs/[^/:]+)"
_FUNCTION = r"(projects/[^/]+/locations/[^/]+/functions/[^/:]+)"
_ANYTHING = r"(projects/.+)"

ROUTES: tuple[tuple[str, str, str, Callable[..., Json]], ...] = (
    ("serviceusage", "POST", rf"v1/{_PROJECT}/services:batchEnable", GoogleCloud.enable),
    ("serviceusage", "GET", rf"v1/{_PROJECT}/services/(.+)\.googleapis\.com", GoogleCloud.service),
    ("cloudresourcemanager", "GET", r"v1/projects/([^/:]+)", GoogleCloud.project_facts),
    ("iam", "POST", rf"v1/{_PROJECT}/serviceAccounts", GoogleCloud.create_account),
    ("iam", "GET", rf"v1/{_ACCOUNT}", GoogleCloud.get),
    ("iam", "DELETE", rf"v1/{_ACCOUNT}", GoogleCloud.delete_account),
    ("secretmanager", "POST", rf"v1/{_PROJECT}/secrets", GoogleCloud.create_secret),
    ("secretmanager", "GET", rf"v1/{_SECRET}", GoogleCloud.get),
    ("secretmanager", "DELETE", rf"v1/{_SECRET}", GoogleCloud.delete),
    ("secretmanager", "POST", rf"v1/{_SECRET}:addVersion", GoogleCloud.add_version),
    ("secretmanager", "GET", rf"v1/{_SECRET}/versions", GoogleCloud.list_versions),
    ("cloudtasks", "POST", rf"v2/{_PLACE}/queues", GoogleCloud.create_queue),
    ("cloudtasks", "GET", rf"v2/{_QUEUE}", GoogleCloud.get),
    ("cloudtasks", "PATCH", rf"v2/{_QUEUE}", GoogleCloud.patch),
    ("cloudtasks", "DELETE", rf"v2/{_QUEUE}", GoogleCloud.delete_queue),
    ("cloudscheduler", "POST", rf"v1/{_PLACE}/jobs", GoogleCloud.create_job),
    ("cloudscheduler", "GET", rf"v1/{_PLACE}/jobs", GoogleCloud.list_jobs),
    ("cloudscheduler", "GET", rf"v1/{_JOB}", GoogleCloud.get),
    ("cloudscheduler", "PATCH", rf"v1/{_JOB}", GoogleCloud.patch),
    ("cloudscheduler", "DELETE", rf"v1/{_JOB}", GoogleCloud.delete),
    ("storage", "POST", r"storage/v1/b", GoogleCloud.create_bucket),
    ("storage", "GET", r"storage/v1/(b/[^/]+)", GoogleCloud.get),
    ("storage", "GET", r"storage/v1/(b/[^/]+)/iam", GoogleCloud.get_policy),
    ("storage", "PUT", r"storage/v1/(b/[^/]+)/iam", GoogleCloud.set_policy),
    ("cloudfunctions", "GET", rf"v2/{_PLACE}/runtimes", GoogleCloud.runtimes),
    ("cloudfunctions", "POST", rf"v2/{_PLACE}/functions:generateUploadUrl", GoogleCloud.upload_url),
    ("cloudfunctions", "POST", rf"v2/{_PLACE}/functions", GoogleCloud.create_function),
    ("cloudfunctions", "GET", rf"v2/{_FUNCTION}", GoogleCloud.get),
    ("cloudfunctions", "PATCH", rf"v2/{_FUNCTION}", GoogleCloud.patch_function),
    ("cloudfunctions", "DELETE", rf"v2/{_FUNCTION}", GoogleCloud.delete_function),
    ("cloudfunctions", "GET", r"v2/(projects/[^/]+/locations/[^/]+/operations/.+)", GoogleCloud.operation),
    *((name, "GET", rf"v[12]/{_PROJECT}/locations", partial(GoogleCloud.locations, service=name)) for name in LOCATED),
    ("any", "POST", rf"v\d/{_ANYTHING}:getIamPolicy", GoogleCloud.get_policy),
    ("any", "GET", rf"v\d/{_ANYTHING}:getIamPolicy", GoogleCloud.get_policy),
    ("any", "POST", rf"v\d/{_ANYTHING}:setIamPolicy", GoogleCloud.set_policy),
)


class GoogleApis(LocalServer):
    """The project behind HTTP, each service under its own name: what the real gcloud can be sent to."""

    def __init__(self, cloud: GoogleCloud, port: int = 0) -> None:
        super().__init__(port)
        self.cloud = cloud

    def start(self) -> None:
        """Open the port, and let zips be uploaded here."""
        super().start()
        self.cloud.upload_base = self.url

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        service, _, path = unquote(request.path).lstrip("/").partition("/")
        if service == "upload":
            self.cloud.archives.append(request.body)
            return Answer()
        body = json.loads(request.body) if request.body else {}
        try:
            return json_answer(self.cloud.call(service, request.method, path, request.query, body))
        except ApiError as error:
            return json_answer(error.body(), error.code)

    def environment(self, folder: Path) -> dict[str, str]:
        """Give what the real gcloud needs in its environment to talk to this and to nothing else."""
        token = folder / "token"
        token.write_text("sample-token")
        endpoints = {
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service.upper()}": f"{self.url}/{service}/"
            for service in (*SERVICES, "serviceusage", "cloudresourcemanager", "logging")
        }
        return endpoints | {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{self.url}/storage/storage/v1/",
            "CLOUDSDK_CONFIG": str(folder / "cloudsdk"),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "HOME": str(folder),
        }
