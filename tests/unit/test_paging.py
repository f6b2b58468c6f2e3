"""What a wrapped paginator asks for next, and what it makes of a page that was asked for ahead."""

from collections.abc import Iterator
from typing import Any

import pytest
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    JSONLinkPaginator,
    OffsetPaginator,
    PageNumberPaginator,
)
from requests import PreparedRequest, Request, Response

from loader.paging import Place, Reading, guarded
from loader.session import MovedError
from loader.verdict import Evidence

HOME = "https://api.example.com/v1/contacts"


class Listening:
    """Hears of pages, and has no wishes."""

    def __init__(self, begins_at: Place | None = None) -> None:
        self.begins_at = begins_at
        self.place: Place | None = None
        self.was_ahead = False
        self.following: list[Request] = []

    def starting_place(self) -> Place | None:
        return self.begins_at

    def rows_so_far(self) -> int:
        return 0

    def page_read(self, rows: int, evidence: Evidence, token: object) -> None:
        pass

    def ask_again(self, problem: str) -> None:
        raise AssertionError(problem)

    def next_place(self, place: Place | None) -> None:
        self.place = place

    def follow(self, following: Iterator[Request]) -> None:
        self.following = list(following)

    def is_ahead(self) -> bool:
        return self.was_ahead

    def is_older(self) -> bool:
        return False

    def page_ended(self) -> bool:
        return False


class Asking:
    """Asks with a paginator, as dlt's client does."""

    def __init__(self, paginator: BasePaginator, begins_at: Place | None = None, home: str = HOME) -> None:
        self.listening = Listening(begins_at)
        self.paginator = guarded(paginator, Reading(self.listening, "id", "data", pages_in_flight=3))
        self.request = Request("GET", home, json={})
        self.paginator.init_request(self.request)

    def take(self, *ids: int, is_ahead: bool = False, **body: Any) -> None:
        """Take a page with these rows, and turn the request into the next one."""
        self.listening.was_ahead = is_ahead
        rows = [{"id": number} for number in ids]
        response = Response()
        response.status_code, response.request = 200, PreparedRequest()
        response.request.prepare("GET", HOME)
        response.json = lambda **_: {"data": rows, **body}  # type: ignore[method-assign]
        self.paginator.update_state(response, rows)
        self.paginator.update_request(self.request)


def by_number(**paths: str | None) -> PageNumberPaginator:
    return PageNumberPaginator(base_page=1, **{"total_path": None, **paths})  # type: ignore[arg-type]


def test_an_end_that_came_ahead_is_asked_for_once_more() -> None:
    asking = Asking(by_number())
    asking.take(5, 4)
    asking.take(is_ahead=True)
    assert (asking.paginator.has_next_page, asking.request.params["page"]) == (True, 2)
    asking.take(3, 2)
    assert (asking.paginator.has_next_page, asking.request.params["page"]) == (True, 3)
    asking.take()
    assert not asking.paginator.has_next_page


def test_the_last_page_that_an_api_tells_of_is_asked_for_alone() -> None:
    asking = Asking(by_number(total_path="pages"))
    asking.take(9, 8, pages=5)
    assert [request.params["page"] for request in asking.listening.following] == [2, 3, 4]


def test_pages_ahead_are_asked_for_by_their_own_number_also_in_a_body() -> None:
    asking = Asking(OffsetPaginator(2, offset_body_path="at.offset", limit_body_path="at.limit", total_path="total"))
    asking.take(1, 2, total=20)
    bodies: list[Any] = [request.json for request in asking.listening.following]
    assert [body["at"]["offset"] for body in bodies[:4]] == [1, 2, 3, 4]


def after(link: str, home: str = HOME) -> tuple[str, Any]:
    """Give the address that is asked after a page with this link, and the place that is kept then."""
    asking = Asking(JSONLinkPaginator(next_url_path="next"), home=home)
    asking.take(1, next=link)
    return asking.request.url, asking.listening.place


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("https://api.example.com/v1/contacts?page=2", id="as it is asked"),
        pytest.param("http://api.example.com/v1/contacts?page=2", id="by http"),
        pytest.param("http://api.example.com:8080/v1/contacts?page=2", id="behind a proxy"),
        pytest.param("/v1/contacts?page=2", id="relative"),
    ],
)
def test_an_api_that_is_asked_by_https_is_never_asked_in_the_clear(link: str) -> None:
    asked = "https://api.example.com/v1/contacts?page=2"
    assert after(link) == (asked, {"url": asked})


def test_an_api_that_is_asked_in_the_clear_may_lead_to_https() -> None:
    asked, _ = after("https://api.example.com/v1/contacts?page=2", home=HOME.replace("https", "http"))
    assert asked == "https://api.example.com/v1/contacts?page=2"


def test_a_link_to_another_host_is_not_followed() -> None:
    with pytest.raises(MovedError):
        after("https://api.example.org/v1/contacts?page=2")


def test_a_kept_link_to_another_host_is_not_followed() -> None:
    with pytest.raises(MovedError):
        Asking(JSONLinkPaginator(next_url_path="next"), {"url": "https://api.example.org/v1/contacts?page=2"})
