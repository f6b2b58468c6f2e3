"""Cloud Storage, as far as a load needs it: objects in memory, for gcsfs (JSON) and deltalake (XML).

Generations are obeyed: what is to be created only if it is not there answers 412 when it is.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from tests.fakes.google_error import google_error, unauthenticated
from tests.local_server import Answer, LocalServer, Request, json_answer

OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
BUCKET = re.compile(r"(?:/upload)?/storage/v1/b/([^/]+)")
XML_OBJECT = re.compile(r"/([^/]+)/(.+)")


@dataclass(frozen=True, slots=True)
class Stored:
    """One object."""

    data: bytes
    generation: int
    updated_at: datetime

    @property
    def etag(self) -> str:
        """What identifies this content."""
        return f'"{hashlib.blake2b(self.data, digest_size=8).hexdigest()}-{self.generation}"'


class FakeCloudStorage(LocalServer):
    """Keeps objects by bucket and name; a bucket that is not listed does not exist."""

    def __init__(self, buckets: set[str], port: int = 0) -> None:
        super().__init__(port)
        self.buckets = buckets
        self.objects: dict[tuple[str, str], Stored] = {}
        self._generation = 0
        self._uploads: dict[str, tuple[str, str | None, bytearray]] = {}
        """Uploads in pieces that have begun: the name, the generation that is to be there, what has come."""

    @property
    def environment(self) -> dict[str, str]:
        """What Google's clients, gcsfs and deltalake need in their environment."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "GOOGLE_BASE_URL": self.url,
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def answer(self, request: Request) -> Answer:
        """Answer one request, whichever of the two interfaces it speaks."""
        if refusal := unauthenticated(request):
            return refusal
        if match := OBJECT.fullmatch(request.path):
            return self._object(request, unquote(match[1]), unquote(match[2]))
        if match := BUCKET.match(request.path):
            return self._bucket(request, match[1])
        if request.query.get("list-type") == "2":
            return self._list_as_xml(request, unquote(request.path).strip("/"))
        if match := XML_OBJECT.fullmatch(unquote(request.path)):
            return self._object_as_xml(request, match[1], match[2])
        return google_error(404, f"Unknown: {request.method} {request.path}")

    # What both do.

    def _put(self, bucket: str, name: str, data: bytes, if_generation: str | None) -> Stored | None:
        """Store an object; None: another generation is there than was to be."""
        with self._lock:
            if not self._is(bucket, name, if_generation):
                return None
            self._generation += 1
            stored = Stored(data, self._generation, datetime.now(UTC))
            self.objects[bucket, name] = stored
            return stored

    def _remove(self, bucket: str, name: str) -> bool:
        with self._lock:
            return self.objects.pop((bucket, name), None) is not None

    def _is(self, bucket: str, name: str, generation: str | None) -> bool:
        there = self.objects.get((bucket, name))
        return generation is None or int(generation) == (there.generation if there else 0)

    def _found(self, bucket: str, prefix: str, delimiter: str) -> tuple[dict[str, Stored], list[str]]:
        """Give the objects with a prefix, and the folders instead of what is in them."""
        found, folders = {}, set()
        for (of_bucket, name), stored in sorted(self.objects.items()):
            if of_bucket != bucket or not name.startswith(prefix):
                continue
            rest = name.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                found[name] = stored
        return found, sorted(folders)

    # JSON.

    def _object(self, request: Request, bucket: str, name: str) -> Answer:
        stored = self.objects.get((bucket, name))
        if stored is None:
            return google_error(404, f"No such object: {bucket}/{name}")
        if request.method == "DELETE":
            self._remove(bucket, name)
            return Answer(204)
        if request.query.get("alt") == "media":
            return _content(request, stored)
        return json_answer(_described(bucket, name, stored))

    def _bucket(self, request: Request, bucket: str) -> Answer:
        if bucket not in self.buckets:
            return google_error(404, "No such bucket.")
        if request.path.startswith("/upload/"):
            return self._upload(request, bucket)
        return self._list(request, bucket) if request.path.rstrip("/").endswith("/o") else json_answer({"name": bucket})

    def _upload(self, request: Request, bucket: str) -> Answer:
        if request.query.get("uploadType") == "resumable":
            return self._resumable(request, bucket)
        described, data = _parts(request)
        return self._stored(bucket, described["name"], data, request.query.get("ifGenerationMatch"))

    def _resumable(self, request: Request, bucket: str) -> Answer:
        """Begin an upload in pieces, or take the next piece of it."""
        if upload := request.query.get("upload_id"):
            name, if_generation, pieces = self._uploads[upload]
            pieces += request.body
            if request.headers.get("content-range", "").endswith("/*"):
                return Answer(308, b"", {"Range": f"bytes=0-{len(pieces) - 1}"})
            return self._stored(bucket, name, bytes(pieces), if_generation)
        upload = str(len(self._uploads))
        name = json.loads(request.body)["name"]
        self._uploads[upload] = (name, request.query.get("ifGenerationMatch"), bytearray())
        place = f"{self.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
        return Answer(200, b"", {"Location": place})

    def _stored(self, bucket: str, name: str, data: bytes, if_generation: str | None) -> Answer:
        stored = self._put(bucket, name, data, if_generation)
        if stored is None:
            return google_error(412, "At least one of the pre-conditions you specified did not hold.")
        return json_answer(_described(bucket, name, stored))

    def _list(self, request: Request, bucket: str) -> Answer:
        query = request.query
        found, folders = self._found(bucket, query.get("prefix", ""), query.get("delimiter", ""))
        items = [_described(bucket, name, stored) for name, stored in found.items()]
        return json_answer({"kind": "storage#objects", "items": items, "prefixes": folders})

    # XML.

    def _object_as_xml(self, request: Request, bucket: str, name: str) -> Answer:
        if request.method == "PUT":
            return self._put_as_xml(request, bucket, name)
        stored = self.objects.get((bucket, name))
        if stored is None:
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if request.method == "DELETE":
            self._remove(bucket, name)
            return Answer(204)
        return _content(request, stored)

    def _put_as_xml(self, request: Request, bucket: str, name: str) -> Answer:
        data = request.body
        if source := request.headers.get("x-goog-copy-source"):
            of_bucket, _, of_name = unquote(source).lstrip("/").partition("/")
            data = self.objects[of_bucket, of_name].data
        stored = self._put(bucket, name, data, request.headers.get("x-goog-if-generation-match"))
        if stored is None:
            return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        return Answer(200, b"", {"ETag": stored.etag, "x-goog-generation": str(stored.generation)})

    def _list_as_xml(self, request: Request, bucket: str) -> Answer:
        query = request.query
        found, folders = self._found(bucket, query.get("prefix", ""), query.get("delimiter", ""))
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>{stored.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified>"
            f"<ETag>{escape(stored.etag)}</ETag><Size>{len(stored.data)}</Size></Contents>"
            for name, stored in found.items()
            if name > query.get("start-after", "")
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{prefixes}</ListBucketResult>"
        return Answer(200, body.encode(), {"Content-Type": "application/xml"})


def _described(bucket: str, name: str, stored: Stored) -> dict[str, Any]:
    moment = f"{stored.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": bucket,
        "id": f"{bucket}/{quote(name)}/{stored.generation}",
        "generation": str(stored.generation),
        "size": str(len(stored.data)),
        "etag": stored.etag,
        "md5Hash": base64.b64encode(hashlib.md5(stored.data, usedforsecurity=False).digest()).decode(),
        "contentType": "application/octet-stream",
        "timeCreated": moment,
        "updated": moment,
    }


def _content(request: Request, stored: Stored) -> Answer:
    """Give the content, or the range of it that was asked for."""
    headers = {
        "ETag": stored.etag,
        "Last-Modified": f"{stored.updated_at:%a, %d %b %Y %H:%M:%S GMT}",
        "x-goog-generation": str(stored.generation),
    }
    size = len(stored.data)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if not asked or request.method == "HEAD":
        return Answer(200, stored.data, headers)
    first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
    last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if first >= size:
        return Answer(416, b"", headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Answer(206, stored.data[first : last + 1], headers)


def _parts(request: Request) -> tuple[dict[str, Any], bytes]:
    """Read an upload of two parts: what the object is, and its content."""
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    _, described, content, _ = (b"\n" + request.body).split(b"\n--" + boundary)
    return json.loads(described.partition(b"\n\n")[2]), content.partition(b"\n\n")[2]
