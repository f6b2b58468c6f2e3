"""What is asked about a resource, and in which order: its first page, the same again with those behind it, its edges.

Nothing is told that was not seen. A cure is tried before it is told, as far as requests are left: its line is pasted,
and the resource read with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from loader.check import paste
from loader.check.asking import Asking, counts_pages
from loader.check.beginning import failed, first_page
from loader.check.columns import find_fields, renamed_fields
from loader.check.findings import Checked
from loader.check.following import find_cap, find_order, find_way, leads_nowhere
from loader.check.look import Look, Page
from loader.check.sample import Table, is_same_order
from loader.check.totals import find_edges
from loader.destination import Destination
from loader.fields import with_new_names
from loader.session import Session
from loader.source import Plan

PAGES = 3
"""So many pages are looked at, if there are."""


def examined(chosen: Plan, session: Session, destination: Destination) -> Checked:
    """Look at a resource.

    Args:
        chosen: how it is read.
        session: what asks; not more often than MAX_REQUESTS.
        destination: what columns there will be.

    Raises:
        SettingsError: code of the configuration failed.
    """
    asking = Asking(chosen, session, destination)
    first = first_page(asking)
    if first is None:
        return asking.checked
    table = _describe(asking, first, is_calm=False)
    before = asking.rows_of(first.pages[0])

    def is_as_before(page: Page) -> bool:
        return is_same_order(before, asking.rows_of(page))

    again = asking.look(PAGES, only_if=is_as_before)
    if again.pages and first.pages[0].response is not None:
        # of a list that comes in one piece the order says nothing
        is_one_piece = again.is_whole and len(again.pages) == 1
        asking.checked.is_stable = is_as_before(again.pages[0]) or (None if is_one_piece else False)
        table = _describe(asking, again, is_calm=_is_calm(asking, first, again))
    _judge(asking, again)
    find_fields(asking, again if again.pages else first, table.normalized)
    return asking.checked


def _judge(asking: Asking, look: Look) -> None:
    """Say what the order of the pages means for a load."""
    if not look.pages or asking.is_dependent or look.pages[0].response is None:
        if asking.checked.is_stable is False:
            find_order(asking)
        elif look.failure is not None:
            failed(asking, look)
    elif asking.checked.is_stable is False:
        find_edges(asking, look)
        find_cap(asking, look, _rows_told_behind(asking))
        find_order(asking)
    elif leads_nowhere(asking, look):
        find_cap(asking, look, _rows_told_behind(asking))
        find_way(asking, look)
    elif look.failure is not None:
        failed(asking, look)
    else:
        find_cap(asking, look, sum(page.delivered for page in look.pages[1:]))
        find_edges(asking, look)


def _rows_told_behind(asking: Asking) -> int:
    """Give how many rows there are behind the first page, as the API says."""
    checked = asking.checked
    is_wrong = any(finding.code == "total_wrong" for finding in checked.findings)
    return 0 if is_wrong or counts_pages(asking.paginator) else (checked.total or 0) - checked.received


def _is_calm(asking: Asking, first: Look, again: Look) -> bool:
    """Tell whether nothing changed between two looks, so that a key that comes on two pages is of two rows."""
    same = asking.received(first.pages[0]) == asking.received(again.pages[0])
    return same and not asking.is_dependent


def _describe(asking: Asking, look: Look, *, is_calm: bool) -> Table:
    """Take down what the first page has, the columns, and what is wrong with the key; give the table."""
    checked, page = asking.checked, look.pages[0]
    checked.received = len(page.rows) if page.response is None else len(asking.received(page))
    checked.total = asking.told(page)
    if look.found:
        checked.paginator = f"auto: {look.found}"
    table = Table(asking.resource, asking.capabilities)
    renamed = renamed_fields(asking, look, table.normalized)
    pages = [table.add(with_new_names(each.rows, renamed)) for each in look.pages]
    checked.rows, checked.columns = len(table.rows), table.columns
    if table.rows:
        _find_key(asking, table, [table.rows, *pages] if is_calm else pages, fields_of(look))
    return table


def _find_key(
    asking: Asking, table: Table, lists: Sequence[Sequence[Mapping[str, Any]]], fields: Sequence[str]
) -> None:
    key = [table.normalized(name) for name in asking.key]
    if paste.is_keyless(asking.chosen):
        problem = 'Rows are to be merged (write_disposition "merge"), and no primary_key tells which are the same'
        code = "key_missing"
    elif key and (lacking := table.lacking(key)):
        problem = f"{lacking:,} of {len(table.rows):,} rows have no {asking.checked.key!r}, which is to tell them apart"
        code = "key_missing"
    elif key and (repeated := max(table.repeated(key, rows) for rows in lists)):
        problem = f"{repeated:,} rows have the {asking.checked.key!r} of another one and take its place in the table"
        code = "key_repeated"
    else:
        return
    likely = table.likely_key(fields)
    if not likely:
        asking.find(code, f"{problem}. No field tells the rows apart; look into the API's documentation for one.")
        return
    line = {"primary_key": likely[0] if len(likely) == 1 else likely}
    asking.find(code, f"{problem}. This line tells the rows apart that were looked at.", line)


def fields_of(look: Look) -> list[str]:
    """Give the names of the fields of the rows."""
    return list({name: None for row in look.rows if isinstance(row, dict) for name in row})
