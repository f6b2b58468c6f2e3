"""Pages that follow are asked for before they are needed, and dlt sees what it would have seen without."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator
from requests.auth import AuthBase

from loader.deadline import Deadline
from loader.exchange import Exchange, TimeIsUpError
from loader.manners import Manners, Turn
from loader.paging import OffsetGuard, Reading
from loader.session import EXCHANGES, RetryPolicy, Session
from tests.clock import EPOCH, DrivenClock

POLICY = RetryPolicy(frozenset({429, 500, 502, 503, 504}), backoff_factor=2, max_retries=3)
PATIENCE_SECONDS = 10.0
"""Of real time, for what takes none where all is well."""

Reply = Callable[[], requests.Response]


class Api(requests.Session):
    """A user's own session, whose answers come when the test lets them."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: dict[int, list[Reply]] = {}
        """What a page is answered with, one reply after the other; a page without any is answered with its number."""
        self.held: set[int] = set()
        """Pages whose answers wait."""
        self.sent: list[int] = []
        self.threads: dict[int, threading.Thread] = {}
        """In which a page was asked for last."""
        self.most_under_way = 0
        self._under_way = 0
        self._changed = threading.Condition()

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        page = int(str(request.url).rpartition("page=")[2])
        with self._changed:
            self.sent.append(page)
            self.threads[page] = threading.current_thread()
            self._under_way += 1
            self.most_under_way = max(self.most_under_way, self._under_way)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: page not in self.held, PATIENCE_SECONDS)
            self._under_way -= 1
            replies = self.replies.get(page)
            reply = replies.pop(0) if replies else lambda: answer(200, page)
        return reply()

    def release(self, *pages: int) -> None:
        """Let these answers come; all of them, if none is named."""
        with self._changed:
            self.held -= {*pages} or self.held
            self._changed.notify_all()

    def wait_until_sent(self, *pages: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: {*pages} <= {*self.sent}, PATIENCE_SECONDS)


def answer(status: int, page: int = 0, retry_after: str = "") -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers["Retry-After"] = retry_after
    response._content = b'{"page": %d}' % page  # noqa: SLF001 - what requests' own tests do
    return response


def page_request(page: int, auth: AuthBase | None = None, hooks: Any = None) -> requests.Request:
    return requests.Request("GET", "http://api.example.com/v1", params={"page": page}, auth=auth, hooks=hooks)


class Reader:
    """Asks as dlt does: one page after the other."""

    def __init__(self, api: Api, at_once: int, seconds: float = 540.0) -> None:
        self.clock = DrivenClock()
        self.session = Session(api, POLICY, Deadline(self.clock, seconds), pages_in_flight=at_once)

    def read(self, page: int, **request: Any) -> Any:
        response = self.session.send(self.session.prepare_request(page_request(page, **request)))
        response.raise_for_status()
        return response.json()["page"]

    def follow(self, *pages: int, **request: Any) -> None:
        self.session.follow([page_request(page, **request) for page in pages])

    def settle(self) -> None:
        """Wait until nothing is under way."""
        for thread in threading.enumerate():
            if thread.name == EXCHANGES:
                thread.join(PATIENCE_SECONDS)


@pytest.fixture
def api() -> Iterator[Api]:
    session = Api()
    yield session
    session.release()


def test_the_first_page_of_a_run_is_asked_for_alone(api: Api) -> None:
    reader = Reader(api, at_once=4)
    assert reader.read(0) == 0
    reader.follow(1, 2, 3, 4, 5)
    assert api.sent == [0]


def test_what_follows_is_under_way_when_the_first_of_it_is_asked_for_and_comes_in_order(api: Api) -> None:
    reader = Reader(api, at_once=4)
    reader.read(0)
    for page in range(1, 10):
        reader.follow(*range(page, 10))
        assert reader.read(page) == page
    assert sorted(api.sent) == list(range(10))
    assert api.most_under_way <= 4


def test_so_many_are_under_way_at_once_and_no_more(api: Api) -> None:
    api.held = {2, 3, 4, 5}
    reader = Reader(api, at_once=3)
    reader.follow(1, 2, 3, 4, 5)
    assert reader.read(1) == 1
    api.wait_until_sent(2, 3)
    # more may be said to follow than may be under way
    reader.follow(2, 3, 4, 5, 6, 7)
    api.release()
    reader.settle()
    reader.read(2)
    reader.settle()
    assert set(api.sent) <= {1, 2, 3, 4, 5, 6}
    assert api.most_under_way == 3


def test_pages_that_have_come_and_wait_to_be_read_leave_room_for_others(api: Api) -> None:
    reader = Reader(api, at_once=3)
    reader.follow(*range(1, 9))
    reader.read(1)
    reader.settle()
    reader.follow(*range(2, 9))
    reader.read(2)
    reader.settle()
    # five are at hand, never more than three of them under way
    assert sorted(api.sent) == [1, 2, 3, 4, 5, 6]
    assert api.most_under_way <= 3


def test_pages_come_while_nobody_asks_for_them_if_that_is_said_and_each_once(api: Api) -> None:
    reader = Reader(api, at_once=3)
    reader.read(0)
    reader.follow(*range(1, 50))
    reader.session.read_on(20)
    reader.settle()
    # an end that was asked for ahead would be none, so the first is left to the reader
    assert sorted(api.sent) == [0, *range(2, 21)]
    for page in range(1, 30):
        assert reader.read(page) == page
        reader.follow(*range(page + 1, 50))
        reader.settle()
    assert sorted(api.sent) == list(range(34))
    assert api.most_under_way <= 3


@pytest.mark.parametrize(("bound", "most"), [("BYTES_AT_HAND", 10 * len('{"page": 0}')), ("MOST_AT_HAND", 10)])
def test_pages_that_nobody_has_asked_for_take_no_more_room_than_there_is(
    api: Api, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(f"loader.session.{bound}", most)
    reader = Reader(api, at_once=3)
    reader.read(0)
    reader.follow(*range(1, 50))
    reader.session.read_on(20)
    reader.settle()
    assert sorted(api.sent) == [0, *range(2, 11)]


def test_what_was_dropped_before_it_was_sent_is_not_sent(api: Api) -> None:
    ended: list[requests.Response | None] = []
    exchange = Exchange(page_request(1).prepare(), api.send, lambda _, response: ended.append(response))
    exchange.drop()
    exchange.run()
    assert (api.sent, ended) == ([], [None])


def test_what_was_dropped_before_its_answer_opened_is_shut() -> None:
    shut = threading.Event()

    class Raw:
        def shutdown(self) -> None:
            shut.set()

    def send(_: requests.PreparedRequest) -> requests.Response:
        exchange.drop()
        response = answer(200, 1)
        response.raw = Raw()
        return response

    exchange = Exchange(page_request(1).prepare(), send, lambda *_: None)
    exchange.run()
    assert shut.is_set()


def test_one_at_a_time_asks_for_nothing_while_nobody_asks(api: Api) -> None:
    reader = Reader(api, at_once=1)
    reader.read(0)
    reader.follow(*range(1, 50))
    reader.session.read_on(20)
    reader.settle()
    assert api.sent == [0]


def test_nothing_is_sent_ahead_that_would_not_come_in_time(api: Api) -> None:
    reader = Reader(api, at_once=4, seconds=50)

    def slow() -> requests.Response:
        reader.clock.advance(30)
        return answer(200, 1)

    api.replies = {1: [slow]}
    assert reader.read(1) == 1
    reader.settle()
    reader.follow(2, 3, 4)
    assert reader.read(2) == 2
    reader.settle()
    assert api.sent == [1, 2]


def test_without_time_to_send_ahead_nothing_is_signed_for_it(api: Api) -> None:
    reader, auth = Reader(api, at_once=4, seconds=50), Signing()

    def slow() -> requests.Response:
        reader.clock.advance(30)
        return answer(200, 1)

    api.replies = {1: [slow]}
    reader.read(1, auth=auth)
    reader.settle()
    reader.follow(2, 3, 4, auth=auth)
    reader.read(2, auth=auth)
    assert auth.signed == [1, 2]


def test_of_large_pages_no_more_are_at_hand_than_may_be_under_way(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loader.session.BYTES_AT_HAND", len('{"page": 0}'))
    reader = Reader(api, at_once=3)
    reader.read(0)
    reader.follow(*range(1, 9))
    reader.read(1)
    reader.settle()
    assert sorted(api.sent) == [0, 1, 2, 3]


ANOTHER = {
    "url": "http://api.example.com/v2",
    "params": {"of": 7, "page": 2},
    "method": "POST",
    "json": {"of": 7},
    "data": {"of": 7},
}


@pytest.mark.parametrize("attribute", ANOTHER)
def test_a_request_is_not_answered_by_a_page_that_was_asked_for_otherwise(api: Api, attribute: str) -> None:
    reader, another = Reader(api, at_once=2), page_request(2)
    setattr(another, attribute, ANOTHER[attribute])
    reader.follow(1, 2)
    reader.read(1)
    api.wait_until_sent(2)
    reader.session.send(reader.session.prepare_request(another))
    assert api.sent == [1, 2, 2]


def test_one_at_a_time_asks_for_nothing_ahead(api: Api) -> None:
    reader = Reader(api, at_once=1)
    for page in range(3):
        reader.follow(page, page + 1, page + 2)
        reader.read(page)
    assert api.sent == [0, 1, 2]
    assert not reader.session.was_ahead


def test_what_does_not_follow_any_more_is_dropped_and_asked_for_anew_when_it_is_needed(api: Api) -> None:
    reader = Reader(api, at_once=4)
    reader.follow(1, 2, 3)
    reader.read(1)
    reader.settle()
    # a step back: of what is under way, nothing is to be seen
    reader.follow(7)
    api.replies = {2: [lambda: answer(200, 22)]}
    reader.read(7)
    assert reader.read(2) == 22
    assert not reader.session.was_ahead
    assert sorted(api.sent) == [1, 2, 2, 3, 7]


def test_a_page_that_was_asked_for_ahead_is_known_as_such(api: Api) -> None:
    reader = Reader(api, at_once=2)
    reader.follow(1, 2)
    reader.read(1)
    assert not reader.session.was_ahead
    reader.read(2)
    assert reader.session.was_ahead


def test_retries_count_for_each_page_and_are_made_when_it_is_needed(api: Api) -> None:
    refusals: list[Reply] = [lambda: answer(503)] * 3
    api.replies, api.held = {2: [*refusals], 3: [*refusals]}, {2, 3}
    reader = Reader(api, at_once=4)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    api.release()
    reader.settle()
    assert reader.clock.sleeps == []
    reader.follow(2, 3)
    assert reader.read(2) == 2
    assert reader.clock.sleeps == [2, 4, 8]
    reader.follow(3)
    # its first wait began when it was refused, and is over by now
    assert reader.read(3) == 3
    assert reader.clock.sleeps == [2, 4, 8, 0, 4, 8]
    assert (api.sent.count(2), api.sent.count(3)) == (4, 4)


def test_after_a_refusal_nothing_more_is_sent_ahead_until_the_reader_has_come_to_it(api: Api) -> None:
    api.replies, api.held = {2: [lambda: answer(503)]}, {2, 3, 4}
    reader = Reader(api, at_once=3)
    reader.follow(1, 2, 3, 4, 5)
    reader.read(1)
    api.wait_until_sent(2, 3, 4)
    api.release(2)
    api.threads[2].join(PATIENCE_SECONDS)
    api.release()
    reader.settle()
    assert sorted(api.sent) == [1, 2, 3, 4]
    reader.follow(2, 3, 4, 5)
    assert reader.read(2) == 2
    reader.settle()
    assert sorted(api.sent) == [1, 2, 2, 3, 4, 5]


def test_a_page_that_came_long_before_the_one_before_it_is_told(api: Api) -> None:
    api.held = {2}
    reader = Reader(api, at_once=3)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    api.threads[3].join(PATIENCE_SECONDS)
    reader.clock.advance(1)
    api.release()
    reader.read(2)
    assert not reader.session.was_older
    reader.read(3)
    assert reader.session.was_older


def no_answer() -> requests.Response:
    raise requests.ConnectionError


@pytest.mark.parametrize("reply", [lambda: answer(503), lambda: answer(404), no_answer], ids=["503", "404", "broken"])
def test_while_a_page_further_on_has_failed_nothing_more_is_sent_ahead(api: Api, reply: Reply) -> None:
    api.replies = {3: [reply]}
    reader = Reader(api, at_once=3)
    reader.follow(1, 2, 3)
    reader.read(1)
    reader.settle()
    reader.follow(2, 3, 4, 5)
    assert reader.read(2) == 2
    reader.settle()
    assert sorted(api.sent) == [1, 2, 3]


def test_a_page_that_fails_after_it_was_dropped_holds_up_no_other(api: Api) -> None:
    api.held, api.replies = {2, 3, 9}, {3: [no_answer]}
    reader = Reader(api, at_once=2)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    reader.follow(8, 9, 10)
    api.release(2)
    assert reader.read(8) == 8
    api.wait_until_sent(9)
    api.release(3)
    api.wait_until_sent(10)


def test_a_page_that_is_refused_for_good_shows_when_it_is_needed(api: Api) -> None:
    api.replies = {2: [lambda: answer(503)] * 4}
    reader = Reader(api, at_once=4)
    reader.follow(1, 2, 3)
    assert reader.read(1) == 1
    reader.follow(2, 3)
    with pytest.raises(requests.HTTPError):
        reader.read(2)
    assert api.sent.count(2) == 4


def test_while_a_page_that_failed_ahead_is_looked_at_nothing_more_is_sent(api: Api) -> None:
    api.replies, api.held = {2: [lambda: answer(404)]}, {2, 3}
    reader = Reader(api, at_once=2)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    api.release(2)
    api.threads[2].join(PATIENCE_SECONDS)
    reader.follow(2, 3, 4)
    with pytest.raises(requests.HTTPError):
        reader.read(2)
    api.release()
    reader.settle()
    assert sorted(api.sent) == [1, 2, 3]


@pytest.fixture
def waits(api: Api, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Give what is set when a request waits for its turn while pages 2 and 3 are under way."""
    waiting, plain = threading.Event(), Manners.enter

    def enter(manners: Manners, seconds: float = 0.0) -> Turn | None:
        if seconds and {2, 3} <= {*api.sent}:
            waiting.set()
        return plain(manners, seconds)

    monkeypatch.setattr(Manners, "enter", enter)
    return waiting


def test_what_is_asked_for_now_goes_before_what_waits(api: Api, waits: threading.Event) -> None:
    api.held = {2, 3}
    reader = Reader(api, at_once=2)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    reader.follow(2, 3, 4)
    reader.session.read_on(5)
    now = threading.Thread(target=reader.read, args=(9,), daemon=True)
    now.start()
    assert waits.wait(PATIENCE_SECONDS)
    api.release(2)
    now.join(PATIENCE_SECONDS)
    api.threads[2].join(PATIENCE_SECONDS)
    assert ({*api.sent[:3]}, api.sent[3]) == ({1, 2, 3}, 9)


def test_a_wait_that_is_asked_for_while_a_request_waits_for_its_turn_holds_it_too(
    api: Api, waits: threading.Event
) -> None:
    api.held, api.replies = {2, 3}, {2: [lambda: answer(429, retry_after="30")]}
    reader = Reader(api, at_once=2)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    now = threading.Thread(target=reader.read, args=(9,), daemon=True)
    now.start()
    assert waits.wait(PATIENCE_SECONDS)
    api.release(2)
    api.threads[2].join(PATIENCE_SECONDS)
    api.release(3)
    now.join(PATIENCE_SECONDS)
    assert (reader.clock.sleeps, api.sent[-1]) == ([30], 9)


@pytest.mark.parametrize("status", [429, 502])
def test_a_wait_that_one_answer_asks_for_holds_all(api: Api, status: int) -> None:
    api.replies = {2: [lambda: answer(status, retry_after="30")]}
    reader = Reader(api, at_once=4)
    reader.follow(1, 2)
    reader.read(1)
    reader.settle()
    reader.follow(5, 6)
    assert reader.read(5) == 5
    assert reader.clock.sleeps == [30]
    assert sorted(api.sent) == [1, 2, 5, 6]


def test_nothing_is_sent_ahead_while_the_api_wants_to_wait(api: Api) -> None:
    api.replies, api.held = {2: [lambda: answer(429, retry_after="30")]}, {2}
    reader = Reader(api, at_once=4)
    reader.follow(1, 2, 3)
    reader.read(1)
    api.wait_until_sent(2, 3)
    api.release()
    reader.settle()
    reader.follow(3, 4, 5)
    assert reader.read(3) == 3
    assert sorted(api.sent) == [1, 2, 3]
    assert reader.clock.sleeps == []


def test_a_request_that_is_not_the_first_of_what_follows_sends_nothing_ahead(api: Api) -> None:
    reader = Reader(api, at_once=4)
    reader.follow(1, 2, 3)
    assert reader.read(8) == 8
    assert api.sent == [8]


def test_a_wait_for_all_that_does_not_fit_pauses_and_says_until_when(api: Api) -> None:
    api.replies = {2: [lambda: answer(429, retry_after="600")]}
    reader = Reader(api, at_once=4)
    reader.follow(1, 2)
    reader.read(1)
    reader.settle()
    reader.follow(5)
    with pytest.raises(TimeIsUpError, match="wait 600 s") as raised:
        reader.read(5)
    assert raised.value.wake_at == EPOCH + 600
    assert 5 not in api.sent


class Signing(AuthBase):
    """Signs requests, and tells in which order; from one page on it fails."""

    def __init__(self, fails_from: int = 99, error: type[Exception] = requests.ConnectionError) -> None:
        self.signed: list[int] = []
        self.fails_from = fails_from
        self.error = error
        self._alone = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        assert self._alone.acquire(blocking=False)
        page = int(str(request.url).rpartition("page=")[2])
        self.signed.append(page)
        self._alone.release()
        if page >= self.fails_from:
            raise self.error
        return request


def test_each_request_is_signed_once_one_after_the_other(api: Api) -> None:
    reader, auth = Reader(api, at_once=4), Signing()
    for page in range(1, 7):
        reader.follow(*range(page, 7), auth=auth)
        reader.read(page, auth=auth)
    assert auth.signed == [1, 2, 3, 4, 5, 6]


def test_what_asks_for_a_signature_is_not_signed_before_it_can_be_sent(api: Api) -> None:
    api.held = {*range(2, 20)}
    reader, auth = Reader(api, at_once=3), Signing()
    reader.follow(*range(1, 20), auth=auth)
    reader.read(1, auth=auth)
    reader.follow(*range(2, 20), auth=auth)
    reader.session.read_on(20)
    # the first has given its turn back
    api.wait_until_sent(2, 3, 4)
    assert auth.signed == [1, 2, 3, 4]


def test_a_session_that_signs_by_itself_is_waited_for_no_longer_than_the_deadline(api: Api) -> None:
    reader, waits = Reader(api, at_once=1), threading.Event()

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        waits.wait(PATIENCE_SECONDS)
        return request

    api.auth = sign
    with reader.session.until(Deadline(reader.clock, 0.05)), pytest.raises(TimeIsUpError, match="could not be signed"):
        reader.read(1)
    waits.set()


@pytest.mark.parametrize("error", [requests.ConnectionError, KeyError])
def test_what_is_wrong_with_a_page_ahead_shows_when_it_is_needed(api: Api, error: type[Exception]) -> None:
    reader, auth = Reader(api, at_once=4), Signing(fails_from=2, error=error)
    reader.follow(1, 2, 3, auth=auth)
    assert reader.read(1, auth=auth) == 1
    assert auth.signed == [1, 2]
    with pytest.raises(error):
        reader.read(2, auth=auth)


def test_hooks_see_pages_in_their_order_in_the_thread_that_reads(api: Api) -> None:
    seen: list[tuple[int, threading.Thread]] = []

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append((response.json()["page"], threading.current_thread()))

    reader, hooks = Reader(api, at_once=4), {"response": [hook]}
    reader.follow(1, 2, 3, hooks=hooks)
    reader.read(1, hooks=hooks)
    reader.settle()
    for page in (2, 3):
        reader.read(page, hooks=hooks)
    assert seen == [(page, threading.current_thread()) for page in (1, 2, 3)]


def test_a_page_that_hangs_ahead_ends_the_run_in_time_when_it_is_needed(api: Api) -> None:
    api.held = {2}
    reader = Reader(api, at_once=2)
    reader.follow(1, 2)
    reader.read(1)
    api.wait_until_sent(2)
    with reader.session.until(Deadline(reader.clock, 0.01)), pytest.raises(TimeIsUpError, match="did not come"):
        reader.read(2)


def test_requests_that_hang_leave_no_room_for_more_than_are_allowed(api: Api) -> None:
    api.held = {2, 3}
    reader = Reader(api, at_once=2)
    reader.follow(1, 2)
    reader.read(1)
    api.wait_until_sent(2)
    reader.follow(3, 4)
    with reader.session.until(Deadline(reader.clock, 0.05)):
        with pytest.raises(TimeIsUpError):
            reader.read(3)
        with pytest.raises(TimeIsUpError, match="as many requests as are allowed"):
            reader.read(5)
    assert api.most_under_way == 2


def test_the_end_of_a_run_drops_what_is_under_way(api: Api) -> None:
    reader = Reader(api, at_once=4)
    with reader.session:
        reader.follow(1, 2, 3)
        reader.read(1)
    assert reader.session._ahead == []  # noqa: SLF001 - there is no other way to see it


@pytest.mark.parametrize(("total", "end"), [(93, None), (95, 95), (200, 200), (None, None)])
def test_a_total_within_what_pages_share_tells_no_end(total: int | None, end: int | None) -> None:
    guard = OffsetGuard(OffsetPaginator(limit=10), Reading(Unheard()))  # type: ignore[arg-type]
    guard.rounds.walk.offset, guard.rounds.walk.shared, guard.rounds.total = 90, 5, total
    assert guard.told_end() == end


class Unheard:
    """Stands where a listener must, and is told nothing."""
