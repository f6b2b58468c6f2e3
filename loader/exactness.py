"""A column never changes a value: what does not fit goes into a variant column, and integers of any size are kept.

dlt reads `007` as 7 where a column has numbers, and rounds 2^53 + 1 where it has floats, both in silence; an integer
beyond 64 bits stops it.
"""

import importlib
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from dlt.common.pendulum import pendulum
from dlt.common.time import ensure_datetime

Value = TypeVar("Value")

MOST_EXACT = 2**53
"""Whole numbers up to this one are floats without being changed."""

LEAST_OF_64_BITS, MOST_OF_64_BITS = -(2**63), 2**63 - 1

LIMIT_OF_DECIMAL = 10**29
"""dlt's decimal has 29 digits before its point, and 9 behind it."""

_BARE = re.compile(r"\s*[+-]?[0-9]*[.]?[0-9]*([eE][+-]?[0-9]+)?\s*")
"""Nothing but a number, however it is written."""

_USUAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([.]\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
"""A moment as most APIs write it, which the standard library reads to the same end, ten times as fast as dlt does."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A number as JSON writes it."""


def install() -> None:
    """Let dlt coerce and write values so; doing it again changes nothing."""
    importlib.import_module("dlt.common.data_types.type_helpers")._COERCE_DISPATCH.update(COERCIONS)  # noqa: SLF001 - see docs/dlt.md
    importlib.import_module("dlt.common.json._orjson").typed_dumpb = typed_dumpb  # type: ignore[attr-defined]


def typed_dumpb(value: Any, sort_keys: bool = False, pretty: bool = False) -> bytes:  # noqa: FBT001, FBT002 - dlt's own
    """Write rows as JSON, as dlt does between its steps; integers beyond 64 bits as decimals, or as text."""
    written = importlib.import_module("dlt.common.json")
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    options |= orjson.OPT_INDENT_2 if pretty else 0
    options |= orjson.OPT_SORT_KEYS if sort_keys else 0
    try:
        return orjson.dumps(value, written.custom_pua_encode, options | orjson.OPT_STRICT_INTEGER)
    except TypeError:
        # one of them is beyond 53 bits, which costs nothing to find out
        return orjson.dumps(kept(value), written.custom_pua_encode, options)


def kept(value: Any) -> Any:
    """Give rows with each integer beyond 64 bits as a decimal; as text, where that is too short for it."""
    if isinstance(value, dict):
        return {name: kept(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kept(inner) for inner in value]
    if isinstance(value, int) and not LEAST_OF_64_BITS <= value <= MOST_OF_64_BITS:
        return Decimal(value) if abs(value) < LIMIT_OF_DECIMAL else str(value)
    return value


def _whole_of_text(text: str) -> int:
    return _same(int(text), str(int(text)) == text and LEAST_OF_64_BITS <= int(text) <= MOST_OF_64_BITS)


def _refusing(coerce: Callable[[str], Value]) -> Callable[[str], Value]:
    """Let a number that no arithmetic reaches, like 1e99999999999999999999, be one that does not fit."""

    def coerced(text: str) -> Value:
        try:
            return coerce(text)
        except ArithmeticError as error:
            raise ValueError(text) from error

    return coerced


@_refusing
def _float_of_text(text: str) -> float:
    return _same(float(text), _is_number(text) and _means(float(text), Decimal(text)))


@_refusing
def _decimal_of_text(text: str) -> Decimal:
    return _same(Decimal(text) if _is_number(text) else Decimal(0), _is_number(text) and _fits(Decimal(text)))


def _float(number: int | Decimal) -> float:
    return _same(float(number), _means(float(number), Decimal(number)))


def _decimal(number: float | Decimal) -> Decimal:
    decimal = Decimal(str(number))
    return _same(decimal, _fits(decimal))


def _whole(number: float | Decimal) -> int:
    return _same(int(number), int(number) == number and LEAST_OF_64_BITS <= int(number) <= MOST_OF_64_BITS)


def _truth(number: float | Decimal) -> bool:
    return _same(bool(number), number in (0, 1))


def _truth_of_text(text: str) -> bool:
    # dlt takes yes, no, t, f, 1 and 0, too
    return _same(text == "true", text in ("true", "false"))


def _same(value: Value, is_the_same: bool) -> Value:  # noqa: FBT001 - an assertion
    if not is_the_same:
        raise ValueError("a column of this kind would change the value")
    return value


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text))


def _means(number: float, exactly: Decimal) -> bool:
    # what is written with more digits than a float has is another number
    return Decimal(repr(number)) == exactly or Decimal(number) == exactly


def _fits(number: Decimal) -> bool:
    return number.is_finite() and abs(number) < LIMIT_OF_DECIMAL


def has_room(number: Decimal, precision: int, scale: int) -> bool:
    """Tell whether a column of so many digits, `scale` of them behind the point, holds a number as it is."""
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= scale and number.adjusted() < precision - scale


LEAST_OF_FINER = len("20261124T120000.123456")

_FINER = re.compile(r"[.,][0-9]{6}[0-9]*[1-9]")


def is_finer(value: Any) -> bool:
    """Tell whether a value that is read as a moment has more digits than a column of moments: 6 behind the point."""
    # most are shorter, which costs less to find out
    return isinstance(value, str) and len(value) > LEAST_OF_FINER and bool(_FINER.search(value))


def as_moment(value: Any) -> Any:
    """Give what dlt makes of a number of seconds since 1970, or of a text: a moment; anything else as it is."""
    try:
        if isinstance(value, str):
            return ensure_datetime(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return pendulum.from_timestamp(value)
    except (ValueError, OverflowError, OSError):
        # it is none: it gets a variant column
        return value
    return value


def _moment_of_text(text: str) -> Any:
    if _USUAL.fullmatch(text):
        return datetime.fromisoformat(text)
    # dlt reads 007 as seconds since 1970, and 2026 as the first of January
    return ensure_datetime(_same(text, not _BARE.fullmatch(text)))


def _moment(number: float) -> Any:
    raise ValueError(number)


COERCIONS: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("bigint", "text"): _whole_of_text,
    ("bigint", "double"): _whole,
    ("bigint", "decimal"): _whole,
    ("bigint", "wei"): _whole,
    ("double", "text"): _float_of_text,
    ("double", "bigint"): _float,
    ("double", "decimal"): _float,
    ("double", "wei"): _float,
    ("decimal", "text"): _decimal_of_text,
    ("decimal", "bigint"): _decimal,
    ("decimal", "double"): _decimal,
    ("decimal", "wei"): _decimal,
    ("bool", "text"): _truth_of_text,
    ("bool", "bigint"): _truth,
    ("bool", "double"): _truth,
    ("bool", "decimal"): _truth,
    ("bool", "wei"): _truth,
    ("timestamp", "text"): _moment_of_text,
    ("timestamp", "bigint"): _moment,
    ("timestamp", "double"): _moment,
}
"""By the type of the column and of the value, in dlt's words; a ValueError makes dlt load a variant column."""
