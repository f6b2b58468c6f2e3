"""Orders: what a request may say. What it may not is tested over HTTP, in tests/end_to_end/test_whole_way.py."""

import json
from typing import Any

import pytest

from loader.errors import RequestError
from loader.orders import MAX_BYTES, parse
from loader.run import Order

NAMES = ["contacts", "teams"]


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        pytest.param({"resource": "teams"}, Order("teams"), id="a_resource"),
        pytest.param({"resource": "teams", "restart": True}, Order("teams", restart=True), id="from_the_beginning"),
        pytest.param({"resource": "teams", "restart": False}, Order("teams"), id="not_from_the_beginning"),
        pytest.param({"resource": "teams", "sweep": True}, Order("teams", sweep=True), id="a_sweep"),
        pytest.param(
            {"resource": "teams", "accept_deletes": True}, Order("teams", accept_deletes=True), id="accepted_deletes"
        ),
        pytest.param({"resource": "teams", "pass": "x"}, Order("teams", pass_started_at="x"), id="one_pass_only"),
    ],
)
def test_an_order_says_what_to_run(fields: dict[str, Any], order: Order) -> None:
    assert parse(json.dumps(fields).encode(), NAMES) == order


def test_a_request_may_be_64_kib_long() -> None:
    body = json.dumps({"resource": "teams"}).encode()
    assert parse(body.ljust(MAX_BYTES), NAMES) == Order("teams")
    with pytest.raises(RequestError, match="longer than 65536 bytes"):
        parse(body.ljust(MAX_BYTES + 1), NAMES)


@pytest.mark.parametrize("body", [b'{"resource": "<b>"}', b'{"<b>": 1, "resource": "teams"}', b"<b>"])
def test_what_was_sent_is_not_repeated(body: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        parse(body, NAMES)
    assert "<b>" not in str(raised.value)
