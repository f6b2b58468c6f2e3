"""A link to the next page stays with the API: the request that follows it is signed with the key."""

from collections.abc import Iterator
from typing import Any

import pytest
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from requests import PreparedRequest, Request, Response

from loader.paging import Place, Reading, guarded
from loader.session import MovedError
from loader.verdict import Evidence

HOME = "https://api.example.com/v1/contacts"


class Listening:
    """Hears of pages, and has no wishes."""

    def starting_place(self) -> Place | None:
        return None

    def rows_so_far(self) -> int:
        return 0

    def page_read(self, rows: int, evidence: Evidence, token: object) -> None:
        pass

    def ask_again(self, problem: str) -> None:
        raise AssertionError(problem)

    def next_place(self, place: Place | None) -> None:
        self.place = place

    def follow(self, following: Iterator[Request]) -> None:
        raise AssertionError(following)

    def is_ahead(self) -> bool:
        return False

    def is_full(self) -> bool:
        return False


def after(link: str, home: str = HOME) -> tuple[str, Any]:
    """Give the address that is asked after a page with this link, and the place that is kept then."""
    listening = Listening()
    paginator = guarded(JSONLinkPaginator(next_url_path="next"), Reading(listening, "id", "data"))
    request = Request("GET", home)
    paginator.init_request(request)
    response = Response()
    response.status_code, response.request = 200, PreparedRequest()
    response.request.prepare("GET", home)
    response.json = lambda **_: {"data": [{"id": 1}], "next": link}  # type: ignore[method-assign]
    paginator.update_state(response, [{"id": 1}])
    paginator.update_request(request)
    return request.url, listening.place


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
