"""What a request asks for, checked before anything is called."""

import json
from typing import Any

from loader.errors import RequestError
from loader.run import Order

MAX_BYTES = 64 * 1024
"""A longer request is refused."""

_TYPES: dict[str, type] = {"resource": str, "restart": bool, "sweep": bool, "accept_deletes": bool, "pass": str}


def parse(body: bytes, resources: list[str]) -> Order:
    """Read an order from the body of a request.

    Raises:
        RequestError: it is none; the message lists what is allowed.
    """
    fields, problem = _fields(body)
    unknown = set(fields) - set(_TYPES)
    wrong = [name for name, kind in _TYPES.items() if name in fields and type(fields[name]) is not kind]
    if not problem and unknown:
        problem = f"The request has {len(unknown)} field(s) that mean nothing here."
    elif wrong:
        problem = f'The request\'s "{wrong[0]}" must be of type {_TYPES[wrong[0]].__name__}.'
    elif not problem and fields.get("resource") not in resources:
        problem = "The request names no resource that there is."
    if problem:
        raise RequestError(
            f"{problem} Allowed: a JSON object with "
            f'"resource" (one of {", ".join(resources)}), and if you like "restart", "sweep", "accept_deletes" '
            '(true or false) and "pass" (the started_at of a paused pass).'
        )
    return Order(
        fields["resource"],
        restart=fields.get("restart", False),
        sweep=fields.get("sweep", False),
        accept_deletes=fields.get("accept_deletes", False),
        pass_started_at=fields.get("pass"),
    )


def _fields(body: bytes) -> tuple[dict[str, Any], str]:
    if len(body) > MAX_BYTES:
        return {}, f"The request is longer than {MAX_BYTES} bytes."
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}, "The request is no JSON."
    if not isinstance(fields, dict):
        return {}, "The request is no JSON object."
    return fields, ""
