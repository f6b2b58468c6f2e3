"""Keeps secrets out of everything that leaves the process: by their values, not by parameter names.

A key in a query stands in every URL, so it is in any text that a library makes of one. What is logged and what is
answered passes `clean`, which knows each value in the forms in which it can appear.
"""

import base64
import json
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"

_lock = threading.Lock()
_forms: tuple[str, ...] = ()


def remember(values: Iterable[str]) -> None:
    """Add secrets to what `clean` takes out, for as long as this process lives."""
    global _forms  # noqa: PLW0603 - one set of secrets per process: a rotated key stays a secret
    with _lock:
        known = set(_forms)
        for value in values:
            known |= _spellings(value)
        # the longest first: a form may contain another
        _forms = tuple(sorted(known, key=lambda form: (-len(form), form)))


def is_secret(text: str) -> bool:
    """Tell whether the text is one of the secrets, in any of its forms."""
    return text in _forms


def clean(text: str) -> str:
    """Give the text with each secret replaced by `***`."""
    for form in _forms:
        text = text.replace(form, MASK)
    return text


def clean_all(value: Any) -> Any:
    """Give a JSON value with each secret in its texts replaced by `***`."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): clean_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_all(item) for item in value]
    return value


def _spellings(value: str) -> set[str]:
    spellings = {
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        base64.b64encode(value.encode()).decode(),
    }
    return {spelling for spelling in spellings if spelling}
