"""A request is tried again after 2, 4 and 8 seconds, or when the API says, and never past the deadline."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import requests_mock

from loader.deadline import Deadline
from loader.exchange import TimeIsUpError
from loader.session import RetryPolicy, Session
from tests.clock import EPOCH, DrivenClock

URL = "http://api.example.com/v1/contacts"
POLICY = RetryPolicy(frozenset({429, 500, 502, 503, 504}), backoff_factor=2, max_retries=3)
OK: dict[str, Any] = {"json": {"data": []}}


@pytest.fixture
def clock() -> DrivenClock:
    return DrivenClock()


@pytest.fixture
def api() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        yield mocker


def session(clock: DrivenClock, seconds: float = 540.0) -> Session:
    return Session(requests.Session(), POLICY, Deadline(clock, clock.monotonic() + seconds))


@pytest.mark.parametrize("status", sorted(POLICY.status_codes))
def test_a_refused_request_is_tried_again_after_2_4_and_8_seconds(
    api: requests_mock.Mocker, clock: DrivenClock, status: int
) -> None:
    api.get(URL, [{"status_code": status}] * 3 + [OK])
    asking = session(clock)
    assert asking.get(URL).status_code == 200
    assert clock.sleeps == [2, 4, 8]
    assert (asking.requests, asking.retries) == (4, 3)


@pytest.mark.parametrize(
    "error", [requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError]
)
def test_a_broken_connection_is_tried_again_too_and_is_raised_in_the_end(
    api: requests_mock.Mocker, clock: DrivenClock, error: type[Exception]
) -> None:
    api.get(URL, exc=error)
    with pytest.raises(error):
        session(clock).get(URL)
    assert clock.sleeps == [2, 4, 8]


def test_after_the_last_retry_the_answer_is_given_as_it_is(
    api: requests_mock.Mocker, clock: DrivenClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "loader")
    api.get(URL, status_code=503)
    asking = session(clock)
    assert asking.get(URL).status_code == 503
    assert (api.call_count, asking.retries) == (4, 3)
    assert "retry 3 follows" in caplog.text
    assert "retry 4" not in caplog.text


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_other_status_codes_are_not_tried_again(api: requests_mock.Mocker, clock: DrivenClock, status: int) -> None:
    api.get(URL, status_code=status)
    assert session(clock).get(URL).status_code == status
    assert (api.call_count, clock.sleeps) == (1, [])


def in_seconds(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(EPOCH, UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("30", 30, id="seconds"),
        pytest.param(in_seconds(90), 90, id="a date"),
        pytest.param(in_seconds(-90), 0, id="a date that is over"),
        pytest.param("soon", 2, id="nonsense"),
        pytest.param("\u00b2", 2, id="a digit that is no number"),
        pytest.param("Sat, 01 Jan 99999 00:00:00 GMT", 2, id="a date beyond the calendar"),
        pytest.param("1800000000", 2, id="a date as a number"),
        pytest.param("9" * 400, 2, id="more than a float holds"),
        pytest.param(in_seconds(40 * 86_400), 2, id="a date that nobody waits for"),
        pytest.param("", 2, id="nothing"),
    ],
)
def test_retry_after_is_obeyed(api: requests_mock.Mocker, clock: DrivenClock, header: str, seconds: float) -> None:
    api.get(URL, [{"status_code": 429, "headers": {"Retry-After": header}}, OK])
    assert session(clock).get(URL).status_code == 200
    assert clock.sleeps == [seconds]


def test_a_retry_after_that_does_not_fit_pauses_at_once_and_says_until_when(
    api: requests_mock.Mocker, clock: DrivenClock
) -> None:
    api.get(URL, status_code=429, headers={"Retry-After": "600"})
    with pytest.raises(TimeIsUpError, match="429") as raised:
        session(clock).get(URL)
    assert raised.value.wake_at == EPOCH + 600
    assert (api.call_count, clock.sleeps) == (1, [])


def test_a_backoff_that_does_not_fit_pauses_and_tells_no_moment(api: requests_mock.Mocker, clock: DrivenClock) -> None:
    api.get(URL, status_code=500)
    with pytest.raises(TimeIsUpError) as raised:
        session(clock, seconds=5).get(URL)
    assert raised.value.wake_at is None
    assert clock.sleeps == [2]


def test_after_the_deadline_nothing_is_asked(api: requests_mock.Mocker, clock: DrivenClock) -> None:
    api.get(URL, **OK)
    asking = session(clock)
    clock.advance(540)
    with pytest.raises(TimeIsUpError):
        asking.get(URL)
    assert api.call_count == 0


def test_the_patience_of_a_block_ends_with_it(clock: DrivenClock) -> None:
    asking = session(clock)
    whole, nearer = asking.deadline, Deadline(clock, 3.0)
    with asking.until(nearer):
        assert asking.deadline is nearer
    assert asking.deadline is whole


def test_a_hook_that_raises_for_a_refusal_does_not_stop_the_retries(
    api: requests_mock.Mocker, clock: DrivenClock
) -> None:
    def refuse(response: requests.Response, **_: Any) -> None:
        response.raise_for_status()

    api.get(URL, [{"status_code": 503}, OK])
    assert session(clock).get(URL, hooks={"response": [refuse]}).status_code == 200
    assert clock.sleeps == [2]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param('{"id": 7, "name": "山田", "price": 10.50}'.encode(), "application/json", id="a usual one"),
        pytest.param(b'{"id": 123456789012345678901234567890}', "application/json", id="an integer beyond 64 bits"),
        pytest.param(b'{"id": 18446744073709551616}', "application/json", id="the first integer beyond 64 bits"),
        pytest.param(b'{"price": 0.1234567890123456789012}', "application/json", id="more digits than a float has"),
        pytest.param(b'{"price": 1e999}', "application/json", id="a number beyond all floats"),
        pytest.param(b'{"name": "\\ud83d"}', "application/json", id="half a character"),
        pytest.param('{"name": "é"}'.encode("latin-1"), "application/json; charset=latin-1", id="latin-1"),
        pytest.param('{"name": "é"}'.encode(), "application/json; charset=latin-1", id="utf-8 that says it is latin-1"),
        pytest.param('{"name": "é"}'.encode("utf-16"), "application/octet-stream", id="utf-16"),
        pytest.param(b"[" * 600 + b"]" * 600, "application/json", id="lists within lists"),
    ],
)
def test_an_answer_is_parsed_to_what_requests_makes_of_it(
    api: requests_mock.Mocker, clock: DrivenClock, body: bytes, content_type: str
) -> None:
    api.get(URL, content=body, headers={"Content-Type": content_type})
    expected = requests.get(URL, timeout=1).json()
    parsed = session(clock).get(URL).json()
    assert parsed == expected
    assert repr(parsed) == repr(expected)


def test_each_host_has_its_own_proxies(clock: DrivenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com")
    monkeypatch.setenv("NO_PROXY", "near.example.com")
    asking = session(clock)
    for page in (1, 2):
        for host, has_proxy in (("near", False), ("far", True)):
            url = f"https://{host}.example.com/{page}"
            assert bool(asking.merge_environment_settings(url, {}, None, None, None)["proxies"]) is has_proxy
