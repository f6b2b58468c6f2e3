"""What every driver prints: a line for each row that its tool handed over, and at last how the tool ended."""

import json
from collections.abc import Callable

LIMIT = 100
"""Rows in a page, as source_config.py asks for."""


def tell(key: object) -> None:
    """Print the key of a row."""
    print(json.dumps({"id": key}))


def tell_end(work: Callable[[], None]) -> None:
    """Let a tool work, and print how it ended."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is, with it the tool has said that it failed
        print(json.dumps({"ended": "failed", "error": type(error).__name__}))
    else:
        print(json.dumps({"ended": "success"}))
