"""The API over HTTP: who may ask, what is asked for, and how the answer travels."""

import base64
import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from tests.local_server import Answer, LocalServer, Request, json_answer
from tests.sample_api.paging import DEFAULT_LIMIT, Question, reply
from tests.sample_api.rows import RESOURCES, make_parts
from tests.sample_api.world import Failure, World

KEY = "sample-key"
CLIENT_ID = "sample-client"

PARTS = re.compile(r"/v1/conversations/([^/]+)/parts")
LIST = re.compile(rf"/v1/({'|'.join(RESOURCES)})(/search)?")
TOKEN_PATH = "/oauth/token"
TOKEN_SECONDS = 3600

SPOILT_PAGES = frozenset({"drip", "drip_chunked", "reset", "short_body", "cut_json", "same_page"})
"""Failures that begin as a page; the others leave the world as it is."""


class SampleApi(LocalServer):
    """Serves a world: `GET /v1/RESOURCE`, `GET /v1/conversations/ID/parts` and `POST /oauth/token`.

    With style `body_cursor` a list is `POST /v1/RESOURCE/search`. The parts are the resource
    `parts`, the tokens `token`. OAuth2 clients are `CLIENT_ID` with the key as their secret.
    """

    def __init__(self, world: World, port: int = 0, *, key: str = KEY) -> None:
        super().__init__(port)
        self.world = world
        self.key = key
        self._tokens: list[str] = []

    def offsets(self, resource: str) -> list[int]:
        """Give the offsets asked for, in the order of arrival; a request without one asked for 0."""
        return [int(request.query.get("offset", 0)) for request in self.requests if request.resource == resource]

    def revoke_tokens(self) -> None:
        """Accept no more any token given out so far."""
        self._tokens = [""] * len(self._tokens)

    def resource_of(self, path: str) -> str:
        """Name the resource of a path."""
        if path == TOKEN_PATH:
            return "token"
        if PARTS.fullmatch(path):
            return "parts"
        match = LIST.fullmatch(path)
        return match[1] if match else ""

    def answer(self, request: Request) -> Answer:
        """Answer a request as the behaviour of its resource says."""
        if not request.resource:
            return _error(404, f"Unknown path: {request.path}")
        failure = self.world.admit(request.resource, request.in_flight)
        behaviour = self.world.behaviour(request.resource)
        if failure is None or failure.what in SPOILT_PAGES:
            answer = self._calm_answer(request, first_page=failure is not None and failure.what == "same_page")
        else:
            answer = _failed(failure)
        self.wait(behaviour.latency)
        if failure is not None:
            answer = self._spoilt(answer, failure)
        if behaviour.gzip and answer.body and "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(answer.body, compresslevel=1, mtime=0)
            answer = replace(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})
        return answer

    def _calm_answer(self, request: Request, *, first_page: bool) -> Answer:
        try:
            if request.resource == "token":
                return self._token(request)
            if not self._is_authorized(request):
                return _error(401, "The key is missing or wrong.")
            if request.resource == "parts":
                return self._parts(request)
            return self._list(request, first_page=first_page)
        except (ValueError, ZeroDivisionError) as error:
            return _error(400, str(error))

    def _list(self, request: Request, *, first_page: bool) -> Answer:
        is_search = request.path.endswith("/search")
        if is_search != (self.world.behaviour(request.resource).style == "body_cursor"):
            return _error(404, f"Unknown path: {request.path}")
        if request.method != ("POST" if is_search else "GET"):
            return _error(405, f"Not allowed: {request.method}")
        parameters: Mapping[str, Any] = json.loads(request.body or b"{}") if is_search else request.query
        if not isinstance(parameters, dict):
            return _error(400, "The body must be a JSON object.")
        question = Question(request.resource, f"{self.url}{request.path}", parameters, first_page)
        page = reply(self.world, question)
        return json_answer(page.body, headers=page.headers)

    def _parts(self, request: Request) -> Answer:
        match = PARTS.fullmatch(request.path)
        if match is None or not self.world.has("conversations", match[1]):
            return _error(404, "No such conversation.")
        rows = make_parts(match[1])
        offset, limit = (int(request.query.get(*pair)) for pair in (("offset", 0), ("limit", DEFAULT_LIMIT)))
        return json_answer({"data": rows[offset : offset + limit], "total": len(rows)})

    def _token(self, request: Request) -> Answer:
        form = dict(parse_qsl(request.body.decode()))
        user, password = _basic(request)
        client = form.get("client_id", user), form.get("client_secret", password)
        if client != (CLIENT_ID, self.key) or form.get("grant_type") != "client_credentials":
            return _error(401, "The client is unknown.")
        with self._lock:
            token = f"sample-token-{len(self._tokens) + 1}"
            self._tokens.append(token)
        return json_answer({"access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer"})

    def _is_authorized(self, request: Request) -> bool:
        match self.world.behaviour(request.resource).auth:
            case "query":
                return request.query.get("api_key") == self.key
            case "header":
                return request.headers.get("x-api-key") == self.key
            case "bearer":
                token = request.headers.get("authorization", "").removeprefix("Bearer ")
                return token in {self.key, *self._tokens} - {""}
            case "basic":
                return _basic(request)[1] == self.key
            case "none":
                return True

    def _spoilt(self, answer: Answer, failure: Failure) -> Answer:
        match failure.what:
            case "hang":
                self.wait(None)
            case "drip" | "drip_chunked" | "reset" | "short_body":
                return replace(answer, manner=failure.what, interval=failure.interval)
            case "cut_json":
                return replace(answer, body=answer.body[: len(answer.body) // 2])
        return answer


def _failed(failure: Failure) -> Answer:
    """Give the answer of a failure that has no page in it; one that hangs is never sent."""
    if isinstance(failure.what, int):
        return _error(failure.what, failure.message, _retry_after(failure))
    error = {"type": "error", "message": failure.message}
    return {
        "hang": Answer(),
        "html": Answer(200, b"<html><body>Back soon.</body></html>", {"Content-Type": "text/html"}),
        "error_body": json_answer({"error": error}),
        "no_data": json_answer({}),
        "null_data": json_answer({"data": None}),
        "empty_page": json_answer({"data": []}),
        "redirect": Answer(302, b"", {"Location": failure.location}),
    }[failure.what]


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return json_answer({"error": {"type": "error", "message": message}}, status, headers)


def _retry_after(failure: Failure) -> dict[str, str]:
    if failure.retry_after is None:
        return {}
    if isinstance(failure.retry_after, datetime):
        return {"Retry-After": format_datetime(failure.retry_after.astimezone(UTC), usegmt=True)}
    return {"Retry-After": str(failure.retry_after)}


def _basic(request: Request) -> tuple[str, str]:
    """Read user and password of Basic authorization; empty where there is none."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme != "Basic":
        return "", ""
    user, _, password = base64.b64decode(encoded).decode().partition(":")
    return user, password
