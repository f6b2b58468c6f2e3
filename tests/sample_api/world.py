"""What the API holds and how it misbehaves, without HTTP: rows in an order, changed while they are read."""

import math
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Literal

from tests.sample_api.rows import RESOURCES, Keys, Row, make_key, make_row, timestamp

FIRST_CHANGE = datetime(2027, 1, 1, tzinfo=UTC)
"""Rows changed by the world are updated from this moment on, a second apart; all others are older."""

Where = Literal["front", "middle", "end"]
Style = Literal["offset", "page_number", "cursor", "body_cursor", "header_cursor", "json_link", "header_link", "single"]
Auth = Literal["query", "header", "bearer", "basic", "none"]
Kind = Literal[
    "hang",
    "drip",
    "drip_chunked",
    "reset",
    "short_body",
    "cut_json",
    "html",
    "error_body",
    "no_data",
    "null_data",
    "empty_page",
    "redirect",
    "same_page",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """What one request meets instead of its page."""

    what: int | Kind
    """A status code, or one of the kinds:

    - `hang`: no answer until the server stops
    - `drip`, `drip_chunked`: the right page, a byte per `interval`, with Content-Length or chunked
    - `reset`, `short_body`: half of the right page, then a reset, or the end of the connection
    - `cut_json`: half of the right page with a Content-Length that fits
    - `html`, `error_body`, `no_data`, `null_data`, `empty_page`: 200 with a web page, `{"error": ...}`, `{}`,
      `{"data": null}`, `{"data": []}`
    - `redirect`: 302 to `location`
    - `same_page`: the first page, whatever was asked for
    """
    retry_after: int | str | datetime | None = None
    """Value of Retry-After with a status code: seconds, or a moment, sent as an HTTP date."""
    message: str = "The request failed."
    """Text in the body of an error."""
    location: str = ""
    """Where a redirect leads to."""
    interval: float = 1.0
    """Seconds between two bytes of a drip."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the API answers; the defaults are a calm one."""

    style: Style = "offset"
    """How pages are asked for."""
    first_page: Literal[0, 1] = 1
    """Number of the first page, with style `page_number`."""
    auth: Auth = "query"
    """Where the key is expected."""
    gzip: bool = True
    """Whether bodies are compressed for clients that accept it."""
    total: bool = True
    """Whether a page tells how many rows there are."""
    total_error: int = 0
    """Added to the total that is told."""
    latency: float = 0.0
    """Seconds until a request is answered."""
    page_cap: int | None = None
    """Most rows in a page, whatever the limit asked for."""
    failures: Mapping[int, Failure] = field(default_factory=dict)
    """Failures by number of the request, from 1 for each resource."""
    fail_from: tuple[int, Failure] | None = None
    """Every request of a resource from this number on fails, until `World.recover`."""
    delete_every: int | None = None
    """After each that many pages of a resource, one row up to the end of the last of them is deleted."""
    insert_every: int | None = None
    """After each that many pages of a resource, one row is inserted at `insert_where`."""
    insert_where: Where = "front"
    """Where `insert_every` inserts."""
    move_every: int | None = None
    """After each that many pages of a resource, one row behind the last of them is moved to the front."""
    unstable_order: bool = False
    """Whether every request finds the rows in another order; not for cursors."""
    sort_param: str | None = None
    """A request with this parameter finds them in their order all the same."""
    max_in_flight: int | None = None
    """Most requests at once, all resources together; more are answered 429."""
    rate_limit: tuple[int, float] | None = None
    """Most requests in that many seconds, all resources together; more are answered 429 with Retry-After."""
    daily_limit: int | None = None
    """Most requests until `World.next_window`, all resources together; more are answered 429."""
    daily_retry_after: int | None = 3600
    """Seconds in the Retry-After of an exhausted daily limit."""


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive rows of a resource."""

    rows: list[Row]
    offset: int
    """Position of the first of them."""
    total: int
    """Rows of the resource, or of those that pass the filter."""
    next_cursor: str | None
    """Where the next page begins, safe from deletions and insertions; None: this is the last page."""

    @property
    def end(self) -> int:
        """Position behind the last row."""
        return self.offset + len(self.rows)


@dataclass(slots=True)
class _Table:
    """Rows of one resource by their numbers, in the order of the list."""

    numbers: list[int]
    next_number: int
    ranks: dict[int, Fraction] = field(default_factory=dict)
    """Place in the order, for rows whose number does not tell it."""
    edits: dict[int, Row] = field(default_factory=dict)
    updated_at: dict[int, str] = field(default_factory=dict)
    """Cache, for filters."""
    numbers_by_key: dict[str, int] = field(default_factory=dict)
    """Cache, for changes by key."""
    requests: int = 0
    pages: int = 0

    def rank(self, number: int) -> Fraction:
        return self.ranks.get(number, Fraction(number))

    def put(self, number: int, position: int) -> None:
        """Insert a number before what is at a position."""
        before = self.rank(self.numbers[position - 1]) if position else None
        after = self.rank(self.numbers[position]) if position < len(self.numbers) else None
        if before is None:
            rank = Fraction(0) if after is None else after - 1
        else:
            rank = before + 1 if after is None else (before + after) / 2
        self.ranks[number] = rank
        self.numbers.insert(position, number)


class World:
    """The rows of every resource and the behaviour of the API; safe to share between threads."""

    def __init__(
        self,
        counts: Mapping[str, int],
        behaviour: Behaviour | None = None,
        *,
        overrides: Mapping[str, Behaviour] | None = None,
        keys: Keys = "ordered",
        edit: Callable[[str, int, Row], None] | None = None,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a world of so many rows by resource.

        Args:
            counts: number of rows by resource; resources that are not named are empty.
            behaviour: how every resource answers.
            overrides: behaviours of single resources, of `parts` and of `token`.
            keys: kind of the key field `id`.
            edit: changes a row in place, given its resource and number, before it is ever seen.
            seed: decides which rows are deleted and moved, and every unstable order.
            clock: seconds, for the rate limit.
        """
        self._lock = threading.RLock()
        self._behaviour = behaviour or Behaviour()
        self._overrides = dict(overrides or {})
        self._keys: Keys = keys
        self._edit = edit
        self._seed = seed
        self._clock = clock
        self._tables = {
            resource: _Table(list(range(1, counts.get(resource, 0) + 1)), counts.get(resource, 0) + 1)
            for resource in RESOURCES
        }
        self._requests_elsewhere: dict[str, int] = {}
        self._recovered = False
        self._changes = 0
        self._admitted_at: deque[float] = deque()
        self._requests_today = 0

    def behaviour(self, resource: str) -> Behaviour:
        """Give the behaviour of a resource; the token endpoint is calm unless it has one of its own."""
        with self._lock:
            calm_or_all = Behaviour() if resource == "token" else self._behaviour
            return self._overrides.get(resource, calm_or_all)

    def behave(self, behaviour: Behaviour, resource: str | None = None) -> None:
        """Behave differently from now on: one resource, or all that have no behaviour of their own."""
        with self._lock:
            self._recovered = False
            if resource is None:
                self._behaviour = behaviour
            else:
                self._overrides[resource] = behaviour

    def recover(self) -> None:
        """Switch off all `failures` and `fail_from`."""
        with self._lock:
            self._recovered = True

    def next_window(self) -> None:
        """Begin a new window of the daily limit."""
        with self._lock:
            self._requests_today = 0

    def count(self, resource: str) -> int:
        """Count the living rows."""
        with self._lock:
            return len(self._tables[resource].numbers)

    def snapshot(self, resource: str) -> list[Row]:
        """Give the living rows in their order."""
        with self._lock:
            return [self._row(resource, number) for number in self._tables[resource].numbers]

    def has(self, resource: str, key: int | str) -> bool:
        """Tell whether a row lives."""
        with self._lock:
            return self._number(resource, key) in self._tables[resource].numbers

    def delete(self, resource: str, key: int | str) -> None:
        """Delete a row."""
        with self._lock:
            self._tables[resource].numbers.remove(self._living(resource, key))

    def insert(self, resource: str, where: Where = "end") -> int | str:
        """Insert a new row, updated now; give its key."""
        with self._lock:
            table = self._tables[resource]
            number = table.next_number
            table.next_number += 1
            moment = self._now()
            table.edits[number] = {"created_at": moment, "updated_at": moment}
            positions = {"front": 0, "middle": len(table.numbers) // 2, "end": len(table.numbers)}
            table.put(number, positions[where])
            key = make_key(resource, number, keys=self._keys)
            if table.numbers_by_key:
                table.numbers_by_key[str(key)] = number
            return key

    def touch(self, resource: str, key: int | str, **values: object) -> None:
        """Change a row where it is: `updated_at`, `revision` and the values given."""
        with self._lock:
            self._touch(resource, self._living(resource, key), values)

    def move_to_front(self, resource: str, key: int | str, **values: object) -> None:
        """Touch a row and move it to the front, as lists with the newest change first do."""
        with self._lock:
            self._move_to_front(resource, self._living(resource, key), values)

    def admit(self, resource: str, in_flight: int = 1) -> Failure | None:
        """Count a request, of any resource name; give the failure that it meets, None where it is served."""
        with self._lock:
            number = self._count_request(resource)
            behaviour = self.behaviour(resource)
            return self._limited(behaviour, in_flight) or self._failure(behaviour, number)

    def page(
        self,
        resource: str,
        offset: int = 0,
        limit: int | None = 100,
        *,
        cursor: str | None = None,
        updated_since: datetime | None = None,
        is_sorted: bool = False,
    ) -> Page:
        """Give a page, from an offset or a cursor on; then let happen what its behaviour says.

        Raises:
            ValueError: the cursor is none of ours.
        """
        with self._lock:
            table = self._tables[resource]
            behaviour = self.behaviour(resource)
            numbers = self._numbers(resource, updated_since, is_sorted=is_sorted)
            if cursor is not None:
                offset = bisect_right(numbers, Fraction(cursor), key=table.rank)
            sizes = [size for size in (limit, behaviour.page_cap, len(numbers)) if size is not None]
            picked = numbers[offset : offset + min(sizes)]
            is_last = offset + len(picked) >= len(numbers)
            page = Page(
                rows=[self._row(resource, number) for number in picked],
                offset=offset,
                total=len(numbers),
                next_cursor=None if is_last or not picked else str(table.rank(picked[-1])),
            )
            table.pages += 1
            self._churn(resource, behaviour, page.end)
            return page

    def _numbers(self, resource: str, updated_since: datetime | None, *, is_sorted: bool) -> list[int]:
        table = self._tables[resource]
        numbers = table.numbers
        if updated_since is not None:
            since = timestamp(updated_since.astimezone(UTC))
            numbers = [number for number in numbers if self._updated_at(resource, number) > since]
        if self.behaviour(resource).unstable_order and not is_sorted:
            numbers = self._random(resource).sample(numbers, len(numbers))
        return numbers

    def _churn(self, resource: str, behaviour: Behaviour, end: int) -> None:
        table = self._tables[resource]
        random = self._random(resource)
        front = min(end, len(table.numbers))
        if _is_due(behaviour.move_every, table.pages) and front < len(table.numbers):
            self._move_to_front(resource, table.numbers[random.randrange(front, len(table.numbers))], {})
        if _is_due(behaviour.delete_every, table.pages) and front:
            del table.numbers[random.randrange(front)]
        if _is_due(behaviour.insert_every, table.pages):
            self.insert(resource, behaviour.insert_where)

    def _random(self, resource: str) -> Random:
        return Random(f"{self._seed}/{resource}/{self._tables[resource].pages}")  # noqa: S311

    def _count_request(self, resource: str) -> int:
        table = self._tables.get(resource)
        if table is None:
            self._requests_elsewhere[resource] = self._requests_elsewhere.get(resource, 0) + 1
            return self._requests_elsewhere[resource]
        table.requests += 1
        return table.requests

    def _failure(self, behaviour: Behaviour, number: int) -> Failure | None:
        if self._recovered:
            return None
        if behaviour.fail_from is not None and number >= behaviour.fail_from[0]:
            return behaviour.fail_from[1]
        return behaviour.failures.get(number)

    def _limited(self, behaviour: Behaviour, in_flight: int) -> Failure | None:
        if behaviour.max_in_flight is not None and in_flight > behaviour.max_in_flight:
            return Failure(429, message="Too many requests at once.")
        if behaviour.rate_limit is not None:
            requests, seconds = behaviour.rate_limit
            now = self._clock()
            while self._admitted_at and self._admitted_at[0] <= now - seconds:
                self._admitted_at.popleft()
            if len(self._admitted_at) >= requests:
                wait = max(1, math.ceil(self._admitted_at[0] + seconds - now))
                return Failure(429, retry_after=wait, message="Too many requests.")
            self._admitted_at.append(now)
        if behaviour.daily_limit is not None:
            if self._requests_today >= behaviour.daily_limit:
                return Failure(429, retry_after=behaviour.daily_retry_after, message="The daily limit is reached.")
            self._requests_today += 1
        return None

    def _row(self, resource: str, number: int) -> Row:
        row = make_row(resource, number, keys=self._keys)
        if self._edit is not None:
            self._edit(resource, number, row)
        return {**row, **self._tables[resource].edits.get(number, {})}

    def _updated_at(self, resource: str, number: int) -> str:
        cache = self._tables[resource].updated_at
        if number not in cache:
            cache[number] = self._row(resource, number)["updated_at"]
        return cache[number]

    def _number(self, resource: str, key: int | str) -> int | None:
        table = self._tables[resource]
        if not table.numbers_by_key:
            table.numbers_by_key = {
                str(make_key(resource, number, keys=self._keys)): number for number in table.numbers
            }
        return table.numbers_by_key.get(str(key))

    def _living(self, resource: str, key: int | str) -> int:
        number = self._number(resource, key)
        if number is None or number not in self._tables[resource].numbers:
            raise KeyError(f"No row {key!r} lives in {resource}.")
        return number

    def _touch(self, resource: str, number: int, values: Mapping[str, object]) -> None:
        table = self._tables[resource]
        changed = {"updated_at": self._now(), "revision": self._row(resource, number)["revision"] + 1}
        table.edits[number] = {**table.edits.get(number, {}), **changed, **values}
        table.updated_at.pop(number, None)

    def _move_to_front(self, resource: str, number: int, values: Mapping[str, object]) -> None:
        table = self._tables[resource]
        self._touch(resource, number, values)
        table.numbers.remove(number)
        table.put(number, 0)

    def _now(self) -> str:
        self._changes += 1
        return timestamp(FIRST_CHANGE + timedelta(seconds=self._changes))


def _is_due(every: int | None, pages: int) -> bool:
    return every is not None and pages % every == 0
