"""What happened, line by line: JSON for Cloud Logging, plain words on a terminal; `redaction` cleans each record."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TextIO

from loader import redaction

NAME = "loader"

CHATTY = "urllib3"
"""The one library whose lines are worth reading at DEBUG: a line per request. Others would show rows there."""

TRACE, LABELS = "logging.googleapis.com/trace", "logging.googleapis.com/labels"
"""https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields"""

_TRACE_HEADERS = {
    # https://www.w3.org/TR/trace-context/#traceparent-header
    "traceparent": re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}"),
    # https://cloud.google.com/trace/docs/trace-context#legacy-http-header
    "X-Cloud-Trace-Context": re.compile(r"([0-9a-fA-F]{32})(?:/\d{1,20})?(?:;o=\d)?"),
}

_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)
"""What each line of an invocation carries: `trace`, and `labels`."""


class Headers(Protocol):
    """Of a request."""

    def get(self, key: str, default: str, /) -> str:
        """Give a header's value."""


@contextmanager
def of_a_request(headers: Headers, project: str | None) -> Iterator[None]:
    """Let each line inside the block, in the threads that see its context too, name the trace of a request."""
    token = _context.set({"labels": {}, "trace": _trace(headers, project)})
    try:
        yield
    finally:
        _context.reset(token)


def label(**labels: str) -> None:
    """Let each further line of this request carry these labels: source, resource, pass."""
    context = _context.get()
    if context is not None:
        context["labels"].update(labels)


def tell(message: str, *args: Any, **fields: Any) -> None:
    """Log a line of INFO; in JSON it has these fields beside its message."""
    logger.info(message, *args, extra={"fields": fields})


def _trace(headers: Headers, project: str | None) -> str | None:
    for name, form in _TRACE_HEADERS.items():
        if found := form.fullmatch(headers.get(name, "")):
            return f"projects/{project}/traces/{found[1]}" if project else found[1]
    return None


class _JsonLines(logging.Formatter):
    """One JSON object a line, as Cloud Logging reads them."""

    def format(self, record: logging.LogRecord) -> str:
        context = _context.get() or {}
        line: dict[str, Any] = {"severity": record.levelname, "message": super().format(record)}
        if context.get("trace"):
            line[TRACE] = context["trace"]
        if context.get("labels"):
            line[LABELS] = context["labels"]
        line.update(getattr(record, "fields", {}))
        return json.dumps(redaction.clean_all(line))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to whatever standard output or standard error is at that moment: a progress bar stands in for it."""

    def __init__(self, stream_name: str, formatter: logging.Formatter) -> None:
        super().__init__()
        self._stream_name = stream_name
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = getattr(sys, self._stream_name)
        super().emit(record)


def install(level: str) -> None:
    """Send all log records, from `level` on, to standard output as JSON lines."""
    _install(level, _Handler("stdout", _JsonLines("%(message)s")))


def install_for_a_person(level: str) -> None:
    """Send all log records, from `level` on, to standard error as plain lines."""
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    _install(level, _Handler("stderr", plain))


def _install(level: str, handler: _Handler) -> None:
    redaction.guard()
    root = logging.getLogger()
    for other in [other for other in root.handlers if isinstance(other, _Handler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    logging.getLogger(NAME).setLevel(level)
    logging.getLogger(CHATTY).setLevel(level if level == "DEBUG" else logging.NOTSET)


logger = logging.getLogger(NAME)
