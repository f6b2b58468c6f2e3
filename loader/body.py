"""What an answer says beside its rows: how many there are, whether more follow, or nothing that makes sense."""

from functools import cache
from typing import Any

from dlt.common import jsonpath
from requests import Response

MORE = ("has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage")
"""Fields by which an API says that there is another page."""


def nonsense(response: Response, selector: str | None) -> str:
    """Say what is wrong with an answer that has no rows where they should be; empty if nothing is."""
    # `data[*]` finds nothing in an empty list
    path = selector.removesuffix("[*]") if selector else None
    found = jsonpath.find_values(_compiled(path), response.json()) if path else [[]]
    if not found:
        return f"the answer has no {selector!r}"
    return f"the answer has null in {selector!r}" if found == [None] else ""


def total_of(response: Response, path: str) -> int | None:
    """Give the number of rows that the answer tells, if it tells one."""
    found = jsonpath.find_values(_compiled(path), response.json())
    try:
        return int(found[0]) if found and not isinstance(found[0], bool) else None
    except (TypeError, ValueError):
        return None


def is_the_last(response: Response, has_more_path: Any) -> bool:
    """Tell whether the answer says, where the configuration looks, that there is no further page."""
    found = jsonpath.find_values(has_more_path, response.json()) if has_more_path else []
    return bool(found) and str(found[0]).lower() in ("false", "0", "no")


def is_more_promised(response: Response) -> bool:
    """Tell whether the answer says that there is another page."""
    body = response.json()
    return isinstance(body, dict) and any(body.get(name) is True for name in MORE)


@cache
def _compiled(path: str) -> Any:
    # a parser is made for each path that is compiled, which takes longer than to parse a page
    return jsonpath.compile_path(path)
