"""The conversation about one resource: short readings of it, with lines pasted or without, and what they show."""

from collections.abc import Callable
from typing import Any

from dlt.extract import DltResource
from dlt.sources.helpers.rest_client.paginators import BasePaginator, OffsetPaginator, PageNumberPaginator

from loader.body import total_of
from loader.check import paste
from loader.check.findings import Checked, Finding
from loader.check.look import Counted, Look, Page, look_at, rows_in
from loader.check.paste import Line
from loader.destination import Destination
from loader.identity import key_hashes
from loader.paging import kind_of
from loader.reader import Reader
from loader.session import Session
from loader.source import Plan, build

LIMITS = ("limit", "per_page", "perPage", "page_size", "pageSize", "size", "count", "max_results", "maxResults")
"""Names of parameters that say how many rows a page is to have."""


class Asking:
    """What is asked about a resource, and what was found so far."""

    def __init__(self, chosen: Plan, session: Session, destination: Destination) -> None:
        self.chosen = chosen
        self.checked = Checked(chosen.resource)
        self.resource: DltResource
        """As it was read last; its hints tell of its table."""
        self.capabilities = destination.factory().capabilities()
        """What the destination makes of names."""
        self._session = session
        self._destination = destination
        self._counted = session.inner = Counted(session.inner)
        self._note_configuration()

    def look(
        self,
        pages: int = 1,
        line: Line | None = None,
        *,
        asks_again: bool = True,
        only_if: Callable[[Page], bool] = lambda _: True,
    ) -> Look:
        """Read so many pages, with a line pasted into the configuration, if one is given.

        Args:
            pages: so many at most.
            line: what to paste.
            asks_again: whether an answer that makes no sense is asked for again, as the reader does.
            only_if: decides by the first page whether those behind it are read, too.
        """
        chosen = paste.pasted(self.chosen, line) if line else self.chosen

        def resource(reader: Reader) -> DltResource:
            self.resource = self._resource(chosen, reader)
            return self.resource

        try:
            return look_at(resource, self._session, self._counted, pages, asks_again=asks_again, only_if=only_if)
        finally:
            self.checked.requests = self._counted.sent

    def try_line(self, line: Line, pages: int = 1) -> Look:
        """Read a page or more with a line pasted, once; nothing where no request is left."""
        return self.look(pages, line, asks_again=False) if self._counted.left else Look()

    def find(self, code: str, message: str, line: Line | None = None) -> None:
        """Take down a finding, once; with its line, go on as if it were pasted: there may be more to be found."""
        if code in {finding.code for finding in self.checked.findings}:
            return
        # a dlt resource of its own has no lines
        line = line if paste.is_configured(self.chosen) else None
        self.checked.findings.append(Finding(code, message, line))
        if line:
            self.chosen = paste.pasted(self.chosen, line)
            self.checked.complete(line)

    def is_refusal_for_a_while(self, status: int) -> bool:
        """Tell whether a status code is one that is tried again."""
        return status in self._session.policy.status_codes

    # what is configured

    @property
    def paginator(self) -> BasePaginator | None:
        """The paginator of dlt's; None where dlt finds it."""
        return paste.inner_paginator(self.chosen)

    @property
    def selector(self) -> str | None:
        """Where the rows are in an answer."""
        selector: str | None = paste.endpoint(self.chosen).get("data_selector")
        return selector

    @property
    def total_path(self) -> str:
        """Where the total is in an answer."""
        return str(getattr(self.paginator, "total_path", None) or "total")

    @property
    def limit_param(self) -> str | None:
        """The parameter that says how many rows a page is to have, where the paginator has none of its own."""
        params = paste.endpoint(self.chosen).get("params") or {}
        return next((name for name in LIMITS if str(params.get(name)).isdigit()), None)

    @property
    def is_dependent(self) -> bool:
        """Whether its pages are those of many lists: one for each row of a parent."""
        return paste.is_dependent(self.chosen)

    @property
    def key(self) -> list[str]:
        """The fields that tell rows apart, as configured."""
        return paste.key_of(self.chosen)

    # what a page shows

    def rows_of(self, page: Page) -> list[str]:
        """Give the hashes of the rows of a page, as it came."""
        return key_hashes(self.received(page), self.key)

    def received(self, page: Page) -> list[Any]:
        """Give the rows of a page, as it came."""
        return page.received(self.selector)

    def has_list(self, look: Look) -> bool:
        """Tell whether the answer has a list where rows should be; one object may be a row, where nothing selects."""
        if not look.pages or look.pages[-1].response is None:
            return bool(look.pages) or look.failure is None
        body = look.pages[-1].body()
        is_one_row = not self.selector and isinstance(body, dict) and not any("error" in name for name in body)
        return rows_in(body, self.selector) is not None or is_one_row

    def told(self, page: Page) -> int | None:
        """Give the total that a page tells."""
        return total_of(page.response, self.total_path) if page.response is not None else None

    def _note_configuration(self) -> None:
        inner, params = self.paginator, paste.endpoint(self.chosen).get("params") or {}
        self.checked.paginator = kind_of(inner) if inner else "auto"
        self.checked.key = ", ".join(self.key)
        asked = inner.limit if isinstance(inner, OffsetPaginator) else params.get(self.limit_param)
        self.checked.asked = None if asked is None else int(asked)

    def _resource(self, chosen: Plan, reader: Reader) -> DltResource:
        resource = build(chosen, self._session, reader).resources[chosen.resource]
        if not paste.is_keyless(chosen):
            self._destination.adapt(resource)
        return resource


def counts_pages(paginator: BasePaginator | None) -> bool:
    """Tell whether a total is one of pages."""
    return isinstance(paginator, PageNumberPaginator)
