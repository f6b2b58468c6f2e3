"""An HTTP server on 127.0.0.1 that remembers its requests and stops at once, even while some of them hang."""

import json
import os
import socket
import struct
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

ADDRESS = "127.0.0.1"

Manner = Literal["whole", "drip", "drip_chunked", "short_body", "reset"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as it came in and as it was answered."""

    method: str
    path: str
    """Path without the query string."""
    resource: str
    """Name of what was asked for, in the words of the server that was asked; empty: nothing it knows."""
    query: dict[str, str]
    headers: dict[str, str]
    """Headers by name in lower case."""
    body: bytes
    received_at: float
    """Moment of arrival in seconds of `time.monotonic()`."""
    in_flight: int
    """Requests that were being answered on arrival, this one included."""
    status: int | None = None
    """Status code of the answer; None: not answered (yet)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back, and how."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Manner = "whole"
    """How the body travels: whole, byte by byte, cut off by an orderly end, or cut off by a reset."""
    interval: float = 1.0
    """Seconds between two bytes of a drip."""


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Give an answer whose body is `value` as JSON."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


class LocalServer(ABC):
    """Base of the servers that tests talk to; a subclass says in `answer` what it plays."""

    def __init__(self, port: int = 0) -> None:
        """Prepare a server on `port` (0: a free one); `start` opens it."""
        self.port = port
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._in_flight = 0

    @abstractmethod
    def answer(self, request: Request) -> Answer:
        """Give the answer to a request; runs in a thread of its own."""

    def resource_of(self, path: str) -> str:
        """Name what a path is about."""
        return path

    @property
    def host(self) -> str:
        """Address and port, as `127.0.0.1:PORT`."""
        return f"{ADDRESS}:{self.port}"

    @property
    def url(self) -> str:
        """Address with scheme, without a trailing slash."""
        return f"http://{self.host}"

    @property
    def requests(self) -> list[Request]:
        """Requests so far, in the order of their arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def max_in_flight(self) -> int:
        """Most requests that were ever being answered at once."""
        return max((request.in_flight for request in self.requests), default=0)

    def start(self) -> None:
        """Open the port and answer in the background; a stopped server comes back on the same port."""
        self._stopping = threading.Event()
        self._http = _HttpServer(self)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection, also those whose requests hang."""
        self._stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http.close_connections()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def wait(self, seconds: float | None) -> None:
        """Let the request wait (None: for ever); when the server stops, end it without an answer."""
        if self._stopping.wait(seconds):
            message = "The server stops."
            raise ConnectionAbortedError(message)

    def respond(self, request: Request) -> Answer:
        """Answer a request and keep the record of it."""
        with self._lock:
            self._in_flight += 1
            received = replace(request, in_flight=self._in_flight)
            position = len(self._requests)
            self._requests.append(received)
        status = None
        try:
            answer = self.answer(received)
            status = answer.status
        finally:
            # Before the answer is sent: a client that has it may ask again at once and would count as two.
            with self._lock:
                self._in_flight -= 1
                self._requests[position] = replace(received, status=status)
        return answer


class _HttpServer(ThreadingHTTPServer):
    """Listens for a `LocalServer`, and knows its open connections so that it can close them."""

    request_queue_size = 128

    def __init__(self, owner: LocalServer) -> None:
        self.owner = owner
        self._connections: set[socket.socket] = set()
        super().__init__((ADDRESS, owner.port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in self._connections.copy():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is no news; anything else is a defect of a test server and is printed.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Turns bytes into a `Request` and an `Answer` into bytes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _HttpServer

    def handle_any(self) -> None:
        received_at = time.monotonic()
        owner = self.server.owner
        target = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=target.path,
            resource=owner.resource_of(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.read_body(),
            received_at=received_at,
            in_flight=0,
        )
        self.deliver(owner.respond(request))

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    # The names that http.server looks for.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def deliver(self, answer: Answer) -> None:
        chunked = answer.manner == "drip_chunked"
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        match answer.manner:
            case "whole":
                self.wfile.write(answer.body if self.command != "HEAD" else b"")
            case "drip" | "drip_chunked":
                self.drip(answer, chunked=chunked)
            case "short_body" | "reset":
                self.cut_off(answer)

    def drip(self, answer: Answer, *, chunked: bool) -> None:
        self.wfile.flush()
        for position in range(len(answer.body)):
            byte = answer.body[position : position + 1]
            self.wfile.write(b"1\r\n%b\r\n" % byte if chunked else byte)
            self.wfile.flush()
            self.server.owner.wait(answer.interval)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def cut_off(self, answer: Answer) -> None:
        self.wfile.write(answer.body[: len(answer.body) // 2])
        self.wfile.flush()
        self.close_connection = True
        if answer.manner == "reset":
            # Without lingering the kernel sends a reset; the socket object would send an orderly end first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        """Say nothing: `requests` tells."""
