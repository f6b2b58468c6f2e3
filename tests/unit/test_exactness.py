"""A column never changes a value that goes into it, and integers of any size are kept."""

from decimal import Decimal
from typing import Any

import pytest
from dlt.common.data_types.type_helpers import coerce_value
from dlt.common.json import json

from loader import exactness

exactness.install()


@pytest.mark.parametrize(
    ("column", "kind", "value", "expected"),
    [
        ("bigint", "text", "7", 7),
        ("bigint", "text", "-7", -7),
        ("bigint", "double", 7.0, 7),
        ("double", "bigint", 2**53, 2.0**53),
        ("double", "text", "10.50", 10.5),
        ("double", "decimal", Decimal("0.1"), 0.1),
        ("decimal", "text", "10.50", Decimal("10.5")),
        ("decimal", "double", 0.1, Decimal("0.1")),
        ("decimal", "bigint", 2**63 - 1, Decimal(2**63 - 1)),
        ("bool", "bigint", 1, True),
        ("bool", "text", "true", True),
        ("bool", "text", "false", False),
        ("text", "bigint", 7, "7"),
    ],
)
def test_a_value_that_stays_the_same_goes_into_the_column(column: Any, kind: Any, value: Any, expected: Any) -> None:
    assert coerce_value(column, kind, value) == expected


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("bigint", "text", "007"),
        ("bigint", "text", " 7"),
        ("bigint", "text", "0x10"),
        ("bigint", "text", str(2**63)),
        ("bigint", "double", 7.5),
        ("bigint", "double", 1e300),
        ("double", "text", "007.5"),
        ("double", "text", "1e999"),
        ("double", "text", "nan"),
        ("double", "text", "0.1234567890123456789"),
        ("double", "bigint", 2**53 + 1),
        ("double", "decimal", Decimal(2**64 + 1)),
        ("decimal", "text", "007"),
        ("decimal", "text", "9" * 30),
        ("decimal", "text", "1e1000000"),
        ("decimal", "text", "1e99999999999999999999"),
        ("double", "text", "1e99999999999999999999"),
        ("decimal", "double", 1e30),
        ("bool", "bigint", 5),
        ("bool", "double", 0.5),
        ("bool", "text", "yes"),
        ("bool", "text", "0"),
        ("bool", "text", "No"),
        ("bool", "text", "True"),
        ("timestamp", "bigint", 1_700_000_000),
        ("timestamp", "double", 0.5),
        ("timestamp", "text", "007"),
        ("timestamp", "text", "2026"),
        ("timestamp", "text", "1700000000.5"),
    ],
)
def test_a_value_that_would_change_does_not(column: Any, kind: Any, value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - dlt takes any
        coerce_value(column, kind, value)


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**28, 10**29, 7])
def test_integers_of_any_size_are_kept_between_the_steps_of_dlt(value: int) -> None:
    (page,) = json.typed_loadb(json.typed_dumpb([{"a": {"b": [value]}, "c": value}]))
    assert {int(page["c"]), int(page["a"]["b"][0])} == {value}
    assert isinstance(page["c"], int) == (-(2**63) <= value < 2**63)
