"""The pages behind the first: whether the list keeps its order, and whether there is a way to the next page."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from dlt.sources.helpers.rest_client.detector import PaginatorFactory
from dlt.sources.helpers.rest_client.paginators import (
    OffsetPaginator,
    PageNumberPaginator,
    SinglePagePaginator,
)

from loader.check import paste
from loader.check.asking import Asking, counts_pages
from loader.check.look import Look, Page
from loader.check.paste import Line
from loader.check.sample import is_same_page
from loader.paging import SAME_OFFSET_PAGE, SAME_PAGE, described

SORTS = ("sort", "sort_by", "order_by", "sortBy")
"""Names of parameters that APIs sort by."""

OFFSETS = ("offset", "skip", "start")
"""Names of parameters that say how many rows come before the page."""

ALL = 10_000
"""So many rows are asked for where a list does not come in pages."""

PAGES_TO_TELL = 3
"""The page that came twice, and one behind it."""

FEW = 3
"""So many rows behind a short first page show that it was not the last: a list may grow by one or two meanwhile."""


def find_order(asking: Asking) -> None:
    """Look for a way to sort a list that comes in another order each time."""
    field = asking.key[0] if asking.key else "id"
    message = (
        "The same page, asked for twice, came in another order: rows jump from page to page while they are read, "
        "and some are never seen."
    )
    tried = []
    for name in SORTS:
        line = paste.params(asking.chosen, **{name: field})
        look = asking.try_line(line)
        if look.pages and _is_sorted(asking.received(look.pages[0]), field):
            asking.find("order_unstable", f"{message} With this line it comes sorted.", line)
            return
        tried += [name] if look.last is not None else []
    in_vain = f" ({', '.join(tried)} sort nothing)" if tried else ""
    asking.find(
        "order_unstable",
        f"{message} Sort by a field that does not change; give the parameter the name that the API's documentation has "
        f"for it{in_vain}.",
        paste.params(asking.chosen, sort=field),
    )


def leads_nowhere(asking: Asking, look: Look) -> bool:
    """Tell whether the next page was the first one again, or there is more than one page and no way to the next."""
    pages = [asking.rows_of(page) for page in look.pages]
    if look.problem in (SAME_PAGE, SAME_OFFSET_PAGE):
        return True
    if any(one == other and len(one) > 1 for one, other in pairwise(pages)):
        return not _begins_twice(asking, look)
    if look.evidence.neighbours is False and len(pages) == 1:
        return True
    is_counted = not counts_pages(asking.paginator) and asking.checked.total is not None
    return len(pages) == 1 and look.is_whole and is_counted and len(pages[0]) < (asking.checked.total or 0)


def _begins_twice(asking: Asking, look: Look) -> bool:
    """Tell whether page 0 is page 1, and the one behind it is another: the reader copes with pages that begin at 1."""
    pages = [asking.rows_of(page) for page in look.pages]
    is_by_number = counts_pages(asking.paginator) or look.found == "page_number"
    return is_by_number and len(pages) >= PAGES_TO_TELL and pages[1] != pages[2]


def find_way(asking: Asking, look: Look) -> None:
    """Look for a way to the next page."""
    first, total = asking.rows_of(look.pages[0]), asking.checked.total
    message = "The next page is the first one again, whatever is asked for"
    if len(look.pages) == 1 and look.is_whole:
        message = "There are more rows than the first page has, and no way to the next page is found"
    if total == len(first) and not counts_pages(asking.paginator):
        asking.find(
            "offset_ignored", f"{message}: it is the whole list. This line reads it once.", {"paginator": "single_page"}
        )
        return
    for line, by_itself in _ways(asking, look.pages[0]):
        # a cursor leads on from the first page only
        other = asking.try_line(by_itself, pages=1 if by_itself != line else 2)
        page = asking.rows_of(other.pages[-1]) if other.pages else []
        if page and not is_same_page(first, page):
            asking.find("offset_ignored", f"{message}: no row behind it is ever loaded. This line leads on.", line)
            return
    name = getattr(asking.paginator, "limit_param", None) or asking.limit_param
    if name and total and not counts_pages(asking.paginator):
        line = {**paste.params(asking.chosen, **{name: ALL}), "paginator": "single_page"}
        other = asking.try_line(line)
        if other.pages and len(asking.rows_of(other.pages[0])) == total:
            asking.find(
                "offset_ignored", f"{message}: no row behind it is ever loaded. This line gets them all at once.", line
            )
            return
    asking.find(
        "offset_ignored",
        f"{message}: no row behind it is ever loaded. Give the resource the paginator that the API's documentation "
        "describes.",
    )


def _ways(asking: Asking, page: Page) -> Iterator[tuple[Line, Line]]:
    """Give lines that may lead to the next page, each with one that asks for the second page by itself."""
    assert page.response is not None  # noqa: S101 - it was asked for
    inner, received = asking.paginator, len(asking.rows_of(page))
    found: Any = PaginatorFactory().create_paginator(page.response)[0]
    is_new = type(found) is not type(inner) and not isinstance(found, SinglePagePaginator | PageNumberPaginator)
    if is_new:
        yield {"paginator": described(found)}, {"paginator": described(found)}
    if not isinstance(inner, PageNumberPaginator):
        by_number = {"type": "page_number", "base_page": 1, "total_path": None}
        yield {"paginator": by_number}, {"paginator": {**by_number, "page": 2}}
    for name in OFFSETS:
        if not isinstance(inner, OffsetPaginator) or inner.param_name != name:
            by_offset = {"type": "offset", "limit": received, **({} if name == "offset" else {"offset_param": name})}
            yield {"paginator": by_offset}, {"paginator": {**by_offset, "offset": received}}


def find_cap(asking: Asking, look: Look, behind: int) -> None:
    """Tell whether the API gives fewer rows a page than it is asked for; so many rows are `behind` the first page."""
    asked, sizes = asking.checked.asked, [len(asking.rows_of(page)) for page in look.pages]
    received = sizes[0]
    is_short = asked is not None and 0 < received < asked and received == max(sizes)
    if not is_short or behind < min(received, FEW):
        return
    is_offset = isinstance(asking.paginator, OffsetPaginator)
    asking.find(
        "page_capped",
        f"The API gives {received} rows a page, though {asked} are asked for. The loader goes by the rows received and "
        "loses none; this line asks for what comes.",
        paste.paginator(asking.chosen, limit=received)
        if is_offset
        else paste.params(asking.chosen, **{str(asking.limit_param): received}),
    )


def _is_sorted(rows: list[Any], field: str) -> bool:
    values: list[Any] = [row.get(field) for row in rows if isinstance(row, dict)]
    try:
        return len(values) > 1 and all(one <= other for one, other in pairwise(values))
    except TypeError:
        return False
