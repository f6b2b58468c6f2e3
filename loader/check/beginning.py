"""The first page: how to come by it, or why there is none."""

from collections.abc import Iterator
from typing import Any

from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator

from loader.check import paste
from loader.check.asking import Asking
from loader.check.look import Look, body_of, path_of_rows
from loader.check.paste import Line

UNAUTHORIZED = (401, 403)

REFUSED = 400
"""From this status code on the request was wrong ..."""

BROKEN = 500
"""... and from this one on, the API is."""


def first_page(asking: Asking) -> Look | None:
    """Give a look at the first page; None where none with rows can be had, which is then found."""
    look = asking.look()
    if not _has_rows(asking, look):
        for code, line, message in _ways(asking, look):
            other = asking.try_line(line)
            if other.failure is None and other.pages and other.pages[0].rows:
                asking.find(code, message, line)
                return other
    if _has_rows(asking, look):
        return look
    _say_why(asking, look)
    return None


def failed(asking: Asking, look: Look) -> None:
    """Say what the API failed with."""
    code, status = "unreachable", look.status
    if status in UNAUTHORIZED:
        code = "unauthorized"
    elif status is not None and status < BROKEN and not asking.is_refusal_for_a_while(status):
        code = "not_found"
    elif look.problem or (status is None and isinstance(look.cause, ValueError)):
        code = "error_body"
    message = str(look.failure)
    if look.problem:
        message = (
            f"With status 200, {look.problem}: it is {outlined(body_of(look.last))}. Look at the resource's path and "
            "data_selector, and at the API."
        )
    asking.find(code, message)


def _has_rows(asking: Asking, look: Look) -> bool:
    if look.failure is not None or not look.pages or not asking.has_list(look):
        return False
    page = look.pages[0]
    return bool(page.rows or page.delivered)


def _ways(asking: Asking, look: Look) -> Iterator[tuple[str, Line, str]]:
    """Give what may lead to a first page: the code of what was wrong, the line, and what it means."""
    inner, path = asking.paginator, path_of_rows(body_of(look.last))
    is_empty = look.failure is None and asking.has_list(look)
    is_refused = look.status is not None and REFUSED <= look.status < BROKEN and look.status not in UNAUTHORIZED
    if isinstance(inner, PageNumberPaginator):
        if not inner.base_index and (is_empty or is_refused):
            yield (
                "first_page",
                paste.paginator(asking.chosen, base_page=1),
                "There is no page 0: the pages begin at 1, and the load would fail or find nothing.",
            )
        if inner.total_path and isinstance(look.cause, ValueError) and not look.problem:
            message = (
                f"There is no number of pages at {str(inner.total_path)!r}, so the load fails at its first page. With "
                "this line pages are read up to an empty one."
            )
            yield "total_wrong", paste.paginator(asking.chosen, total_path=None), message
    if path and path != asking.selector and not is_empty:
        yield (
            "error_body",
            {"data_selector": path},
            f"There is no list of rows at {asking.selector!r} in the answer, but one at {path!r}.",
        )


def _say_why(asking: Asking, look: Look) -> None:
    if look.failure is not None:
        failed(asking, look)
    elif not asking.has_list(look):
        where = f"at {asking.selector!r} " if asking.selector else ""
        asking.find("error_body", f"There is no list of rows {where}in the answer: {outlined(body_of(look.last))}.")
    else:
        asking.checked.total = asking.told(look.pages[0]) if look.pages else None
        asking.find("no_data", "The list is empty, so nothing is known of its rows; the table is made with the first.")


def outlined(body: Any) -> str:
    """Give the names in an answer, never what they hold: that may be customers' rows."""
    if isinstance(body, dict):
        return "an object with " + (", ".join(map(repr, list(body)[:8])) or "nothing in it")
    if body is None:
        return "no JSON"
    return f"a list of {len(body)}" if isinstance(body, list) else f"a {type(body).__name__}"
