"""The sample API keeps its word: tests of the loader are worth as much as the server they run against."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sample_api import (
    CLIENT_ID,
    KEY,
    RESOURCES,
    Behaviour,
    Failure,
    Keys,
    Row,
    SampleApi,
    World,
    make_parts,
    make_row,
)

ROOT = Path(__file__).parents[2]


@contextmanager
def serve(count: int = 250, behaviour: Behaviour | None = None, **options: Any) -> Iterator[SampleApi]:
    with SampleApi(World({"contacts": count, "conversations": 20}, behaviour, **options)) as api:
        yield api


def get(api: SampleApi, path: str = "/v1/contacts", **parameters: Any) -> requests.Response:
    return requests.get(f"{api.url}{path}", params={"api_key": KEY, **parameters}, timeout=5, allow_redirects=False)


def ids(rows: list[Row]) -> list[int]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("keys", ["ordered", "random"])
def test_rows_are_deterministic_distinct_and_of_one_type_per_field(resource: str, keys: Keys) -> None:
    rows = [make_row(resource, n, keys=keys) for n in range(1, 301)]
    assert rows == [make_row(resource, n, keys=keys) for n in range(1, 301)]
    assert len({row["id"] for row in rows}) == 300
    assert 400 <= sum(len(json.dumps(row, ensure_ascii=False).encode()) for row in rows) / 300 <= 620
    types: dict[str, set[type]] = {}
    for row in rows:
        for path, value in leaves(row):
            types.setdefault(path, set()).add(type(value))
            assert not (isinstance(value, float) and value.is_integer())
    assert all(len(found - {type(None)}) == 1 for found in types.values())
    assert {bool, int, float, str, type(None)} <= set.union(*types.values())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}[]")
    else:
        yield path, value


def test_offset_pages_cover_every_row_once_and_tell_the_total() -> None:
    with serve(250) as api:
        pages = [get(api, limit=100, offset=offset).json() for offset in (0, 100, 200, 300)]
        assert [len(page["data"]) for page in pages] == [100, 100, 50, 0]
        assert {page["total"] for page in pages} == {250}
        assert [row for page in pages for row in page["data"]] == api.world.snapshot("contacts")
        assert api.offsets("contacts") == [0, 100, 200, 300]
        assert api.max_in_flight == 1


@pytest.mark.parametrize(
    ("behaviour", "size", "total"),
    [
        pytest.param(Behaviour(total=False), 100, None, id="no_total"),
        pytest.param(Behaviour(total_error=-30), 100, 220, id="wrong_total"),
        pytest.param(Behaviour(page_cap=50), 50, 250, id="capped"),
    ],
)
def test_total_and_size_of_a_page_are_as_told(behaviour: Behaviour, size: int, total: int | None) -> None:
    with serve(250, behaviour) as api:
        page = get(api).json()
        assert (len(page["data"]), page.get("total")) == (size, total)


def next_page_number(response: requests.Response, first_page: int) -> dict[str, Any] | None:
    following = int(parameter(response, "page") or first_page) + 1
    return {"page": following} if following < first_page + response.json()["total_pages"] else None


def parameter(response: requests.Response, name: str) -> str | None:
    found = re.search(rf"[?&]{name}=([^&]*)", response.request.url or "")
    return found[1] if found else None


def link_parameters(link: str | None) -> dict[str, Any] | None:
    return dict(re.findall(r"[?&]([^=]+)=([^&]*)", link)) if link else None


def cursor_parameters(cursor: str | None) -> dict[str, Any] | None:
    return {"cursor": cursor} if cursor else None


@pytest.mark.parametrize(
    ("behaviour", "following", "pages"),
    [
        pytest.param(
            Behaviour(style="page_number", first_page=first),
            lambda response, first=first: next_page_number(response, first),
            3,
            id=f"page_number_from_{first}",
        )
        for first in (0, 1)
    ]
    + [
        pytest.param(
            Behaviour(style="cursor"),
            lambda response: cursor_parameters(response.json()["cursors"]["next"]),
            3,
            id="cursor",
        ),
        pytest.param(
            Behaviour(style="header_cursor"),
            lambda response: cursor_parameters(response.headers.get("X-Next-Cursor")),
            3,
            id="header_cursor",
        ),
        pytest.param(
            Behaviour(style="json_link"),
            lambda response: link_parameters(response.json()["next"]),
            3,
            id="json_link",
        ),
        pytest.param(
            Behaviour(style="header_link"),
            lambda response: link_parameters(response.links.get("next", {}).get("url")),
            3,
            id="header_link",
        ),
        pytest.param(Behaviour(style="single"), lambda _: None, 1, id="single"),
    ],
)
def test_every_style_of_paging_leads_through_all_rows(
    behaviour: Behaviour, following: Callable[[requests.Response], dict[str, Any] | None], pages: int
) -> None:
    with serve(250, behaviour) as api:
        parameters: dict[str, Any] | None = {"filter": "a b"}
        rows: list[Row] = []
        while parameters is not None:
            response = get(api, **parameters)
            rows += response.json()["data"]
            parameters = following(response)
        assert rows == api.world.snapshot("contacts")
        assert len(api.requests) == pages


def test_links_repeat_every_parameter() -> None:
    with serve(250, Behaviour(style="json_link")) as api:
        assert get(api, limit=100, x="1").json()["next"] == (
            f"{api.url}/v1/contacts?api_key={KEY}&limit=100&x=1&offset=100"
        )


def test_body_cursor_is_asked_for_by_post_only() -> None:
    with serve(250, Behaviour(style="body_cursor", auth="header")) as api:
        rows: list[Row] = []
        cursor = None
        while cursor is not None or not rows:
            page = requests.post(
                f"{api.url}/v1/contacts/search",
                json={"cursor": cursor, "limit": 100},
                headers={"X-Api-Key": KEY},
                timeout=5,
            ).json()
            rows += page["data"]
            cursor = page["cursors"]["next"]
        assert rows == api.world.snapshot("contacts")
        assert requests.get(f"{api.url}/v1/contacts", headers={"X-Api-Key": KEY}, timeout=5).status_code == 404


def test_cursor_survives_deleted_inserted_and_moved_rows() -> None:
    world = World({"contacts": 9})
    cursor = world.page("contacts", limit=4).next_cursor
    world.delete("contacts", 4)
    world.delete("contacts", 5)
    world.insert("contacts", "front")
    world.move_to_front("contacts", 9)
    assert ids(world.page("contacts", limit=4, cursor=cursor).rows) == [6, 7, 8]


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        pytest.param("/v1/contacts", {"api_key": "wrong"}, 401, id="wrong_key"),
        pytest.param("/v1/contacts", {"api_key": None}, 401, id="no_key"),
        pytest.param("/v1/unknown", {}, 404, id="unknown_resource"),
        pytest.param("/v1/conversations/999/parts", {}, 404, id="parts_of_no_conversation"),
        pytest.param("/v1/contacts", {"limit": "many"}, 400, id="limit_no_number"),
        pytest.param("/v1/contacts", {"offset": "-1"}, 400, id="offset_below_zero"),
        pytest.param("/v1/contacts", {"updated_since": "soon"}, 400, id="filter_no_moment"),
    ],
)
def test_wrong_requests_get_a_json_error(path: str, parameters: dict[str, Any], status: int) -> None:
    with serve() as api:
        response = get(api, path, **parameters)
        assert response.status_code == status
        assert response.json()["error"]["message"]
        assert api.requests[0].status == status


@pytest.mark.parametrize(
    ("auth", "options"),
    [
        pytest.param("header", {"headers": {"X-Api-Key": KEY}}, id="header"),
        pytest.param("bearer", {"headers": {"Authorization": f"Bearer {KEY}"}}, id="bearer"),
        pytest.param("basic", {"auth": ("anyone", KEY)}, id="basic"),
    ],
)
def test_the_key_is_taken_where_it_is_expected_only(auth: Any, options: dict[str, Any]) -> None:
    with serve(1, Behaviour(auth=auth)) as api:
        assert requests.get(f"{api.url}/v1/contacts", timeout=5, **options).status_code == 200
        assert get(api).status_code == 401


def test_a_token_opens_the_api_until_it_is_revoked() -> None:
    with serve(1, Behaviour(auth="bearer", fail_from=(3, Failure(500)))) as api:
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": KEY}
        answers = [requests.post(f"{api.url}/oauth/token", data=form, timeout=5).json() for _ in range(4)]
        headers = {"Authorization": f"Bearer {answers[-1]['access_token']}"}
        assert requests.get(f"{api.url}/v1/contacts", headers=headers, timeout=5).status_code == 200
        api.revoke_tokens()
        assert requests.get(f"{api.url}/v1/contacts", headers=headers, timeout=5).status_code == 401
        wrong = {**form, "client_secret": "wrong"}
        assert requests.post(f"{api.url}/oauth/token", data=wrong, timeout=5).status_code == 401


def test_parts_belong_to_their_conversation() -> None:
    with serve() as api:
        parts = {key: get(api, f"/v1/conversations/{key}/parts").json()["data"] for key in range(1, 21)}
        assert parts == {key: make_parts(key) for key in range(1, 21)}
        assert {len(rows) for rows in parts.values()} == {0, 1, 2, 3}
        assert len([request for request in api.requests if request.resource == "parts"]) == 20


def test_the_filter_gives_what_was_updated_since() -> None:
    with serve() as api:
        newest = max(row["updated_at"] for row in api.world.snapshot("contacts"))
        assert get(api, updated_since=newest).json() == {"data": [], "total": 0}
        api.world.touch("contacts", 7, name="Grace")
        row = get(api, updated_since=newest).json()["data"][0]
        assert (row["id"], row["name"], row["revision"]) == (7, "Grace", 2)


NO_PAGE: list[Any] = [
    pytest.param(Failure(503, retry_after=2), 503, {"Retry-After": "2"}, "error", id="seconds"),
    pytest.param(
        Failure(429, retry_after=datetime(2030, 1, 2, tzinfo=UTC)),
        429,
        {"Retry-After": "Wed, 02 Jan 2030 00:00:00 GMT"},
        "error",
        id="date",
    ),
    pytest.param(Failure("html"), 200, {"Content-Type": "text/html"}, "<html>", id="html"),
    pytest.param(Failure("error_body", message="Sorry."), 200, {}, "Sorry.", id="error_body"),
    pytest.param(Failure("no_data"), 200, {}, "{}", id="no_data"),
    pytest.param(Failure("null_data"), 200, {}, '{"data":null}', id="null_data"),
    pytest.param(Failure("empty_page"), 200, {}, '{"data":[]}', id="empty_page"),
    pytest.param(Failure("redirect", location="http://x/"), 302, {"Location": "http://x/"}, "", id="redirect"),
]


@pytest.mark.parametrize(("failure", "status", "headers", "text"), NO_PAGE)
def test_a_failure_meets_its_request_and_the_connection_lives_on(
    failure: Failure, status: int, headers: dict[str, str], text: str
) -> None:
    with serve(1, Behaviour(failures={2: failure})) as api, requests.Session() as session:
        session.params = {"api_key": KEY}
        answers = [session.get(f"{api.url}/v1/contacts", timeout=5, allow_redirects=False) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, status, 200]
        assert headers.items() <= answers[1].headers.items()
        assert text in answers[1].text
        assert answers[0].json() == answers[2].json()


@pytest.mark.parametrize("kind", ["reset", "short_body"])
@pytest.mark.parametrize("gzip", [False, True])
def test_a_cut_connection_is_an_error_for_the_client(kind: Any, *, gzip: bool) -> None:
    with serve(100, Behaviour(failures={1: Failure(kind)}, gzip=gzip)) as api:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            get(api)
        assert get(api).status_code == 200


def test_cut_json_is_a_whole_answer_with_half_of_a_page() -> None:
    with serve(100, Behaviour(failures={1: Failure("cut_json")})) as api:
        halved = get(api)
        assert get(api).text.startswith(halved.text)
        with pytest.raises(requests.exceptions.JSONDecodeError):
            halved.json()


@pytest.mark.parametrize("kind", ["drip", "drip_chunked"])
def test_a_drip_is_the_right_page_in_the_end(kind: Any) -> None:
    with serve(2, Behaviour(failures={1: Failure(kind, interval=0)}, gzip=False)) as api:
        dripped = get(api)
        assert dripped.content == get(api).content
        assert ("Content-Length" in dripped.headers) == (kind == "drip")


def test_same_page_ignores_the_offset() -> None:
    with serve(250, Behaviour(fail_from=(1, Failure("same_page")))) as api:
        assert get(api, offset=100).json() == get(api, offset=0).json()


def test_an_outage_lasts_until_the_api_recovers() -> None:
    with serve(1, Behaviour(failures={1: Failure(500)}, fail_from=(2, Failure(502)))) as api:
        assert [get(api).status_code for _ in range(3)] == [500, 502, 502]
        api.world.recover()
        assert get(api).status_code == 200
        assert get(api, "/v1/teams").status_code == 200


def test_failures_are_counted_for_each_resource() -> None:
    behaviour = Behaviour(failures={1: Failure(500)})
    with serve(1, behaviour, overrides={"teams": Behaviour()}) as api:
        paths = ("/v1/contacts", "/v1/teams", "/v1/companies", "/v1/contacts")
        assert [get(api, path).status_code for path in paths] == [500, 200, 500, 200]


def read_all(world: World) -> list[int]:
    found: list[int] = []
    offset = 0
    while rows := world.page("contacts", offset, 10).rows:
        found += ids(rows)
        offset += 10
    return found


@pytest.mark.parametrize(
    ("behaviour", "count", "lost", "twice"),
    [
        pytest.param(Behaviour(), 200, 0, 0, id="calm"),
        pytest.param(Behaviour(delete_every=4), 195, 4, 0, id="deleted"),
        pytest.param(Behaviour(insert_every=4), 205, 5, 5, id="inserted_in_front"),
        pytest.param(Behaviour(insert_every=4, insert_where="end"), 205, 0, 0, id="inserted_at_the_end"),
        pytest.param(Behaviour(move_every=4), 200, 4, 4, id="moved"),
    ],
)
def test_churn_loses_and_repeats_rows_of_a_naive_reader(
    behaviour: Behaviour, count: int, lost: int, twice: int
) -> None:
    worlds = [World({"contacts": 200}, behaviour) for _ in range(2)]
    found = read_all(worlds[0])
    assert found == read_all(worlds[1])
    assert worlds[0].count("contacts") == count
    living = set(ids(worlds[0].snapshot("contacts")))
    assert (len(living - set(found)), len(found) - len(set(found))) == (lost, twice)


def test_changes_by_hand_keep_to_their_place() -> None:
    world = World({"contacts": 4}, keys="random")
    keys = [row["id"] for row in world.snapshot("contacts")]
    front, middle, end = (world.insert("contacts", where) for where in ("front", "middle", "end"))
    world.move_to_front("contacts", keys[3], name="first")
    world.delete("contacts", keys[0])
    rows = world.snapshot("contacts")
    assert [row["id"] for row in rows] == [keys[3], front, middle, keys[1], keys[2], end]
    assert (rows[0]["name"], rows[0]["revision"]) == ("first", 2)
    assert rows[0]["updated_at"] > rows[1]["updated_at"]
    with pytest.raises(KeyError, match="lives"):
        world.delete("contacts", keys[0])


def test_unstable_order_is_another_at_every_request_and_the_same_in_every_test() -> None:
    orders = [
        [ids(world.page("contacts").rows) for _ in range(2)]
        for world in (World({"contacts": 50}, Behaviour(unstable_order=True)) for _ in range(2))
    ]
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]
    assert sorted(orders[0][0]) == sorted(orders[0][1])


def test_edit_changes_rows_before_they_are_seen() -> None:
    def price(_: str, number: int, row: Row) -> None:
        row["price"] = 10 if number == 1 else 10.5

    with serve(2, edit=price) as api:
        assert [row["price"] for row in get(api).json()["data"]] == [10, 10.5]


def test_rate_limit_tells_how_long_to_wait() -> None:
    now = [0.0]
    with serve(1, Behaviour(rate_limit=(2, 10)), clock=lambda: now[0]) as api:
        answers = [get(api) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["Retry-After"] == "10"
        now[0] = 10.0
        assert get(api).status_code == 200


def test_daily_limit_ends_with_its_window() -> None:
    with serve(1, Behaviour(daily_limit=2, daily_retry_after=7200)) as api:
        answers = [get(api) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["Retry-After"] == "7200"
        api.world.next_window()
        assert get(api).status_code == 200


def hang(api: SampleApi, count: int, ends: list[Exception]) -> list[threading.Thread]:
    """Send requests that are expected to get no answer; return once all of them are under way."""

    def ask() -> None:
        try:
            get(api)
        except requests.RequestException as error:
            ends.append(error)

    expected = len(api.requests) + count
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    while len(api.requests) < expected:
        time.sleep(0.005)
    return threads


def test_more_requests_at_once_than_allowed_are_refused() -> None:
    behaviour = Behaviour(max_in_flight=2, failures={2: Failure("hang"), 3: Failure("hang")})
    ends: list[Exception] = []
    with serve(1, behaviour) as api:
        assert get(api).status_code == 200
        threads = hang(api, 2, ends)
        assert [get(api).status_code for _ in range(2)] == [429, 429]
        assert api.max_in_flight == 3
    for thread in threads:
        thread.join()
    assert len(ends) == 2


def test_bodies_are_compressed_for_clients_that_accept_it() -> None:
    with serve(100) as api:
        plain = requests.get(
            f"{api.url}/v1/contacts",
            params={"api_key": KEY},
            headers={"Accept-Encoding": "identity"},
            timeout=5,
        )
        packed = get(api)
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
        assert packed.json() == plain.json()


def test_requests_are_recorded_as_they_came() -> None:
    with serve(1) as api:
        before = time.monotonic()
        requests.post(f"{api.url}/v1/contacts", params={"a": "1 2"}, data=b"body", headers={"X-Test": "é"}, timeout=5)
        [request] = api.requests
        assert (request.method, request.path, request.resource) == ("POST", "/v1/contacts", "contacts")
        assert (request.query, request.body, request.headers["x-test"]) == ({"a": "1 2"}, b"body", "é")
        assert before <= request.received_at <= time.monotonic()
        assert (request.status, request.in_flight) == (401, 1)


def test_twenty_clients_at_once_are_served_right() -> None:
    with serve(1000, Behaviour(failures={n: Failure(503) for n in range(5, 200, 5)})) as api:

        def read(_: int) -> list[int]:
            with requests.Session() as session:
                session.params = {"api_key": KEY}
                found: list[int] = []
                while len(found) < 1000:
                    answer = session.get(f"{api.url}/v1/contacts", params={"offset": str(len(found))}, timeout=5)
                    found += ids(answer.json()["data"]) if answer.ok else []
                return found

        with ThreadPoolExecutor(20) as pool:
            results = list(pool.map(read, range(20)))
        assert all(result == list(range(1, 1001)) for result in results)
        statuses = [request.status for request in api.requests]
        assert (statuses.count(200), statuses.count(503)) == (200, 39)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Behaviour(fail_from=(1, Failure("hang"))), id="hang"),
        pytest.param(Behaviour(fail_from=(1, Failure("drip"))), id="drip"),
        pytest.param(Behaviour(latency=60), id="latency"),
    ],
)
def test_stopping_ends_whatever_is_under_way(behaviour: Behaviour) -> None:
    ends: list[Exception] = []
    api = SampleApi(World({"contacts": 1}, behaviour))
    api.start()
    threads = hang(api, 5, ends)
    started_at = time.monotonic()
    api.stop()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started_at < 1
    assert len(ends) == 5
    with pytest.raises(requests.ConnectionError):
        get(api)


def test_a_stopped_api_comes_back_on_its_port_and_leaves_no_connection_open() -> None:
    api = SampleApi(World({"contacts": 1}))
    with requests.Session() as session:
        session.params = {"api_key": KEY}
        with api:
            assert session.get(f"{api.url}/v1/contacts", timeout=5).status_code == 200
        with pytest.raises(requests.ConnectionError):
            session.get(f"{api.url}/v1/contacts", timeout=5)
        with api:
            assert session.get(f"{api.url}/v1/contacts", timeout=5).status_code == 200


def test_the_command_says_where_it_listens_and_ends_when_told(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "tests.sample_api", "--rows", "3,2", "--no-total", "--key", "k"]
    with subprocess.Popen(
        [*command, "--port-file", str(port_file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        page = requests.get(f"{url}/v1/contacts", params={"api_key": "k"}, timeout=5).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
        assert url == f"http://127.0.0.1:{port_file.read_text()}"
    assert ids(page["data"]) == [1, 2]
    assert "total" not in page
