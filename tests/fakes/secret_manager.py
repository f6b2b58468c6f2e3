"""Secret Manager, as far as reading a version goes."""

import base64
import re
from collections.abc import Mapping
from typing import Literal

from tests.fakes.google_error import google_error, unauthenticated
from tests.local_server import Answer, LocalServer, Request, json_answer

ACCESS = re.compile(r"/v1/(projects/[^/]+/secrets/[^/]+/versions/[^/]+):access")

Trouble = Literal["denied", "disabled", "missing", "hang"]


class FakeSecretManager(LocalServer):
    """Gives the payload of secret versions; `requests` names the version asked for as `resource`."""

    def __init__(self, versions: Mapping[str, bytes | Trouble] | None = None, port: int = 0) -> None:
        """Prepare the server with versions by full name: a payload, or the trouble with it."""
        super().__init__(port)
        self.versions: dict[str, bytes | Trouble] = dict(versions or {})
        """May be changed at any time; a name that is not there is missing."""

    def resource_of(self, path: str) -> str:
        """Name the version."""
        match = ACCESS.fullmatch(path)
        return match[1] if match else ""

    def answer(self, request: Request) -> Answer:
        """Answer one access."""
        if refusal := unauthenticated(request):
            return refusal
        name = request.resource
        match self.versions.get(name, "missing"):
            case "denied":
                return google_error(403, f"Permission 'secretmanager.versions.access' denied for resource '{name}'.")
            case "disabled":
                return google_error(400, f"Secret Version [{name}] is in DISABLED state.", "FAILED_PRECONDITION")
            case "hang":
                self.wait(None)
            case bytes(payload):
                data = base64.b64encode(payload).decode()
                return json_answer({"name": name, "payload": {"data": data, "dataCrc32c": str(_crc32c(payload))}})
        return google_error(404, f"Secret Version [{name}] not found.")


def _crc32c(data: bytes) -> int:
    """Compute the checksum of Castagnoli, which the standard library lacks."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF
