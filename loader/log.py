"""What happened, line by line: JSON for Cloud Logging, plain words on a terminal. Secrets are taken out here."""

import json
import logging
import sys
from typing import TextIO

from loader.redaction import clean

NAME = "loader"


class _JsonLines(logging.Formatter):
    """One JSON object a line, as Cloud Logging reads them."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"severity": record.levelname, "message": clean(super().format(record))})


class _PlainLines(logging.Formatter):
    """Lines for a person."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


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
    _install(level, _Handler("stderr", _PlainLines("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")))


def _install(level: str, handler: _Handler) -> None:
    root = logging.getLogger()
    for other in [other for other in root.handlers if isinstance(other, _Handler)]:
        root.removeHandler(other)
    root.addHandler(handler)
    logging.getLogger(NAME).setLevel(level)


logger = logging.getLogger(NAME)
