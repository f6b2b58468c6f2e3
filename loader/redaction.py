"""Keeps secrets out of everything that leaves the process: by their values, not by parameter names.

A key in a query stands in every URL, so it is in any text that a library makes of one. What is logged and what is
answered passes `clean`, which knows each value in the forms in which it can appear. It stands in the making of log
records themselves (`guard`), so neither a new module nor a library's own handler can go around it.
"""

import base64
import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"

SHORT = 8
"""A secret of fewer characters is taken out only where it stands alone: else a key `1` would hide every number."""

_AUTHORIZATION = re.compile(r"(authorization\W{1,6}(?:bearer|basic)\s+)[\w.~+/=-]+", re.IGNORECASE)
"""Credentials as they stand in a header, whoever has made them: a token server, say, or Google's libraries."""

_lock = threading.Lock()
_forms: frozenset[str] = frozenset()
_pattern: re.Pattern[str] | None = None


def remember(values: Iterable[str]) -> None:
    """Add secrets to what `clean` takes out, for as long as this process lives."""
    global _forms, _pattern
    with _lock:
        new = _forms.union(*(_spellings(part) for value in values for part in _parts(value)))
        if new != _forms:
            # the longest first: a form may contain another
            ordered = sorted(new, key=lambda form: (-len(form), form))
            _forms, _pattern = new, re.compile("|".join(map(_where, ordered)))


def is_secret(text: str) -> bool:
    """Tell whether the text is one of the secrets, in any of its forms."""
    return text in _forms


def clean(text: str) -> str:
    """Give the text with each secret replaced by `***`."""
    cleaned = _pattern.sub(MASK, text) if _pattern else text
    return _AUTHORIZATION.sub(rf"\1{MASK}", cleaned)


def clean_all(value: Any) -> Any:
    """Give a JSON value with each secret in its texts replaced by `***`."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): clean_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_all(item) for item in value]
    return value


def guard() -> None:
    """Let no log record, no warning and no uncaught traceback of this process hold a secret."""
    logging.setLogRecordFactory(_Record)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda dying: _log_uncaught(dying.exc_type, dying.exc_value, dying.exc_traceback)
    sys.unraisablehook = lambda lost: _log_uncaught(lost.exc_type, lost.exc_value, lost.exc_traceback)


class _Record(logging.LogRecord):
    """A log record whose text is cleaned when it is made, its traceback too: any handler may write it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.msg, self.args = clean(self.getMessage()), None
        if self.exc_info:
            # a formatter takes the text that is there already
            self.exc_text = clean(_FORMATTER.formatException(self.exc_info))
        self.stack_info = clean(self.stack_info) if self.stack_info else None


_FORMATTER = logging.Formatter()


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: Any) -> None:
    if isinstance(error, KeyboardInterrupt):
        return
    logging.getLogger().critical("Uncaught %s.", kind.__name__, exc_info=(kind, error or kind(), traceback))


def _where(form: str) -> str:
    text = re.escape(form)
    return rf"(?<![^\W_]){text}(?![^\W_])" if len(form) < SHORT else text


def _parts(value: str) -> Iterator[str]:
    """Give a secret and, where it is a JSON object or list, the texts in it: dlt hands out such an object parsed."""
    yield value
    try:
        parsed = json.loads(value) if value.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        return
    for part in parsed.values() if isinstance(parsed, dict) else parsed or ():
        if isinstance(part, str | dict | list):
            yield from _parts(part if isinstance(part, str) else json.dumps(part))


def _spellings(value: str) -> set[str]:
    data = value.encode(errors="surrogatepass")
    percent = {quote(data), quote(data, safe=""), quote_plus(data)}
    spellings = {
        value,
        *percent,
        *(_lower_case(form) for form in percent),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        *_in_base64(data),
    }
    return {spelling for spelling in spellings if spelling}


def _lower_case(percent_encoded: str) -> str:
    return re.sub(r"%[0-9A-F]{2}", lambda code: code.group().lower(), percent_encoded)


def _in_base64(data: bytes) -> Iterator[str]:
    """Give what a secret looks like in Base64: alone, and behind 0, 1 or 2 other bytes, as in `user:password`.

    Where bytes before or after share a character with it, that character is left out.
    """
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode()
        if len(data) >= SHORT:
            for before in range(3):
                whole = encode(bytes(before) + data).decode().rstrip("=")
                first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
                yield whole[first:last]
