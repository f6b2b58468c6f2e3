"""What tells rows apart: a hash of the key, and a hash of all that is in a row. Keys may be e-mail addresses."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson

PrimaryKey = str | Sequence[str] | Callable[[Any], Any] | None
"""As dlt has it: a field, several, or a function of the row that gives them."""


def key_hashes(rows: Sequence[Any], primary_key: PrimaryKey) -> list[str]:
    """Give a hash of each row's key; of the whole row, where it has no key."""
    return [digest(_key(row, primary_key)).hex() for row in rows]


def content_hashes(rows: Sequence[Any]) -> list[str]:
    """Give a hash of each row, with all that is in it."""
    return [digest(row).hex() for row in rows]


def _key(row: Any, primary_key: PrimaryKey) -> Any:
    names = primary_key(row) if callable(primary_key) else primary_key
    if not names or not isinstance(row, dict):
        return row
    key = [row.get(name) for name in ([names] if isinstance(names, str) else names)]
    return row if None in key else key


def digest(value: Any) -> bytes:
    """Give 8 bytes that tell a value from others."""
    try:
        data = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # an integer of more than 64 bits
        data = json.dumps(value, default=str, sort_keys=True).encode()
    return hashlib.blake2b(data, digest_size=8).digest()
