"""The edges of a list: whether it ends where its total says, and begins where its first page is looked for."""

from collections.abc import Iterator, Mapping
from typing import Any

from dlt.sources.helpers.rest_client.paginators import OffsetPaginator, PageNumberPaginator

from loader.body import total_of
from loader.check import paste
from loader.check.asking import Asking
from loader.check.look import Look
from loader.check.paste import Line
from loader.check.sample import is_same_page

NOT_TOLD = "not_told"
"""A path that is in no answer; without one, the loader looks at `total`."""


def find_edges(asking: Asking, look: Look) -> None:
    """Look at the end of the list, and at what is before its beginning."""
    inner = asking.paginator
    if isinstance(inner, OffsetPaginator):
        if not inner.initial_value and inner.maximum_value is None:
            _rows_told(asking, inner, look)
    elif isinstance(inner, PageNumberPaginator):
        if inner.total_path and inner.maximum_value is None:
            _pages_told(asking, inner, look)
        if inner.base_index and inner.initial_value == inner.base_index:
            _page_before(asking, inner, look)
    elif look.is_whole and look.evidence.is_certain and asking.checked.total not in (None, look.evidence.rows):
        asking.find(
            "total_wrong",
            f"The API says that there are {asking.checked.total:,} rows, and gives {look.evidence.rows:,}: a pass can "
            "never be verified. Look at what the key may see.",
        )


def _rows_told(asking: Asking, inner: OffsetPaginator, look: Look) -> None:
    total = asking.checked.total
    if total is None:
        if inner.total_path:
            _find_missing(asking, look)
    elif not (look.is_whole and look.evidence.rows == total):
        problem = _wrong(asking, total, {})
        if problem:
            asking.find(
                "total_wrong",
                f"{problem}: a pass can't be verified by counting. With this line the total is not looked at, and "
                "neighbouring pages and the closing lap tell instead.",
                paste.paginator(asking.chosen, total_path=NOT_TOLD),
            )


def _wrong(asking: Asking, total: int, changes: Line) -> str | None:
    """Look at the last row that a total tells of; say what is wrong, empty if nothing is, None if that is not known."""
    edge = max(total - 1, 0)
    look = asking.try_line(paste.paginator(asking.chosen, **changes, offset=edge))
    if look.failure is not None or not look.pages or look.pages[0].response is None:
        return None
    told = total_of(look.pages[0].response, changes.get("total_path") or asking.total_path)
    received = len(asking.rows_of(look.pages[0]))
    if told is None:
        return None
    # the answer's own total, as the list may have changed
    if received > max(told - edge, 0):
        return f"The API says that there are {told:,} rows, and gives more"
    if not received and told > edge:
        return f"The API says that there are {told:,} rows, and gives fewer"
    return ""


def _find_missing(asking: Asking, look: Look) -> None:
    message = f"The answers have no total at {asking.total_path!r} to count the rows against"
    for path, number in _numbers(look.pages[0].body()):
        if number >= look.evidence.rows and _wrong(asking, number, {"total_path": path}) == "":
            line = paste.paginator(asking.chosen, total_path=path)
            asking.find("total_missing", f"{message}, but at {path!r}.", line)
            return
    asking.find("total_missing", f"{message}; neighbouring pages and the closing lap tell instead.")


def _numbers(body: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Give the numbers in an answer, with their paths, that may be a total."""
    for name, value in body.items() if isinstance(body, Mapping) else ():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _numbers(value, here)
        elif isinstance(value, int) and any(part in name.lower() for part in ("total", "count")):
            yield here, value


def _pages_told(asking: Asking, inner: PageNumberPaginator, look: Look) -> None:
    """Ask for the page behind the last, and for the last: it is the number of pages that ends a load."""
    told = asking.checked.total
    if told is None:
        return
    # at dlt's default path it may be of rows
    is_of_pages = asking.total_path != "total"
    behind, told_now = _page(asking, inner.base_index + told)
    if told_now is not None and told_now != told:
        # the list has changed meanwhile
        return
    if behind and not is_same_page(asking.rows_of(look.pages[0]), behind):
        asking.find(
            "total_wrong",
            f"The API says that there are {told:,} pages, and has more: their rows are never loaded. With this line "
            "pages are read up to an empty one.",
            paste.paginator(asking.chosen, total_path=None),
        )
    elif not look.is_whole and is_of_pages and _page(asking, inner.base_index + told - 1) == ([], told):
        asking.find(
            "total_wrong",
            f"The API says that there are {told:,} pages, and has fewer: a pass can't be verified by counting. With "
            "this line pages are read up to an empty one, and rows are not counted.",
            paste.paginator(asking.chosen, total_path="total"),
        )


def _page_before(asking: Asking, inner: PageNumberPaginator, look: Look) -> None:
    number = inner.base_index - 1
    before, _ = _page(asking, number, base_page=number)
    if before and not is_same_page(asking.rows_of(look.pages[0]), before):
        asking.find(
            "first_page",
            f"There is a page {number} before the first one that is read: its rows are never loaded.",
            paste.paginator(asking.chosen, base_page=number),
        )


def _page(asking: Asking, number: int, **changes: Any) -> tuple[list[str] | None, int | None]:
    """Give the rows of a page, None where it was not answered, and how many pages it tells of."""
    # what is told of pages is not of interest for one of them
    look = asking.try_line(paste.paginator(asking.chosen, **{**changes, "page": number, "total_path": None}))
    return (asking.rows_of(look.pages[0]), asking.told(look.pages[0])) if look.pages else (None, None)
