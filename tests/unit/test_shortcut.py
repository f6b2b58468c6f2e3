"""The short way through dlt's normalizer ends where dlt's own does."""

from collections.abc import Iterator
from typing import Any

import pytest
from dlt.common.configuration.container import Container
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.schema import Schema
from dlt.normalize.items_normalizers.jsonl import JsonLItemsNormalizer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loader import exactness, retyping
from loader.retyping import Watch, watching

TABLE = "contacts"


class Written:
    """dlt's storage of normalized rows, as a list."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, Any]]] = []

    def write_data_item(self, load_id: str, schema: str, table: str, item: Any, columns: Any) -> None:
        """Keep rows, in their order."""
        del load_id, schema
        for row in item if isinstance(item, list) else [item]:
            assert set(row) <= set(columns)
            self.rows.append((table, row))


class Config:
    """Of dlt's normalizer."""

    destination_capabilities = DestinationCapabilitiesContext.generic_capabilities()
    # ids then are hashes of keys
    destination_capabilities.update(supported_merge_strategies=["upsert"])


def schema_of_contacts(*, is_complete: bool = False) -> Schema:
    schema = Schema("analytics")
    table: Any = {
        "name": TABLE,
        "write_disposition": "merge",
        "x-merge-strategy": "upsert",
        "columns": {
            "id": {"name": "id", "primary_key": True, "nullable": False},
            "born_at": {"name": "born_at", "data_type": "timestamp", "timezone": False},
            "extra": {"name": "extra", "data_type": "json"},
            "hash": {"name": "hash", "data_type": "binary"},
            "paid": {"name": "paid", "data_type": "decimal"},
        },
    }
    if is_complete:
        table["columns"]["id"]["data_type"] = "bigint"
    schema.update_table(table)
    return schema


@pytest.fixture(autouse=True)
def _as_in_a_run() -> Iterator[None]:
    exactness.install()
    retyping.install()
    watch = Watch(TABLE, lambda *_: True, moments=frozenset({"seen_at"}))
    with watching(watch), Container().injectable_context(Config.destination_capabilities):
        yield


def normalized(pages: list[list[Any]], *, shortly: bool, is_complete: bool = False) -> tuple[list[Any], Any, list[Any]]:
    """Normalize pages; give the rows that were written, the schema, and the rows that went dlt's own way."""
    written, schema, own_way = Written(), schema_of_contacts(is_complete=is_complete), []
    normalizer: Any = JsonLItemsNormalizer(written, None, None, schema, "1700000000.0", Config())  # type: ignore[arg-type]
    ways: Any = retyping
    plain = ways._plain_chunk  # noqa: SLF001 - to count what goes through it

    def counted(self: Any, table: str, items: list[Any], *how: bool) -> Any:
        own_way.extend(items)
        return plain(self, table, items, *how)

    ways._plain_chunk = counted  # noqa: SLF001 - the same
    try:
        for page in pages:
            way = type(normalizer)._normalize_chunk if shortly else counted  # noqa: SLF001 - the same
            way(normalizer, TABLE, page, False, False)  # noqa: FBT003 - dlt's own
    finally:
        ways._plain_chunk = plain  # noqa: SLF001 - the same
    return written.rows, schema.to_dict()["tables"], own_way


MOMENTS = [
    "2026-11-24T10:00:00Z",
    "2026-11-24T10:00:00.123456789Z",
    "2026-11-24T10:00:00.123456+02:00",
    "2026-11-24T10:00:00",
    "2026-11-24",
    "no date",
]
FINER = "2026-11-24T10:00:00.123456789Z"
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.sampled_from([*MOMENTS, FINER, "0x00ff", "AAAA", "7", "007", "1.50"]),
)
NAMES = st.sampled_from(
    ["userId", "user_id", "born_at", "seen_at", "extra", "hash", "paid", "Name", "a", "a__b", " ", ""]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=2)),
    max_leaves=4,
)
ROWS = st.builds(lambda key, rest: {"id": key, **rest}, st.integers(0, 9), st.dictionaries(NAMES, VALUES, max_size=6))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(ROWS, max_size=4), max_size=4), st.booleans())
@example([[{"id": 1}]], True)  # noqa: FBT003 - drawn
@example([[{"id": 1, "_dlt_id": "a"}, {"id": 2, "_dlt_id": "b"}, {"id": 3, "_dlt_id": ""}, {"id": 4}]], False)  # noqa: FBT003 - drawn
def test_rows_and_schema_are_those_of_dlts_own_way(pages: list[list[Any]], is_complete: bool) -> None:  # noqa: FBT001 - drawn
    plain = _attempt(pages, shortly=False, is_complete=is_complete)
    short = _attempt(pages, shortly=True, is_complete=is_complete)
    if isinstance(plain, Exception):
        assert type(short) is type(plain)
        return
    assert not isinstance(short, Exception)
    assert short[:2] == plain[:2]


def _attempt(pages: list[list[Any]], **how: bool) -> Any:
    try:
        return normalized(pages, **how)
    except Exception as error:  # noqa: BLE001 - the other way must fail in the same way
        return error


def test_only_a_row_with_something_new_in_it_goes_dlts_own_way() -> None:
    rows = [{"id": key, "name": "x", "at": MOMENTS[0], "where": {"city": "Rome"}} for key in range(100)]
    rows[50] = {**rows[50], "age": 7}
    written, _, own_way = normalized([rows, rows], shortly=True)
    assert own_way == [rows[0], rows[50]]
    assert [row["id"] for _, row in written] == [*range(100), *range(100)]


def test_rows_that_bring_their_id_keep_it() -> None:
    own = "_dlt_id"
    written, _, own_way = normalized([[{"id": key, own: f"id-{key}"} for key in range(10)]], shortly=True)
    assert len(own_way) == 1
    assert [row[own] for _, row in written] == [f"id-{key}" for key in range(10)]


def test_of_moments_with_more_digits_than_their_column_has_the_first_goes_dlts_own_way() -> None:
    calm, fine = {"id": 1, "at": MOMENTS[0]}, {"id": 2, "at": FINER}
    _, _, own_way = normalized([[calm, calm, fine, fine], [calm, fine]], shortly=True)
    assert own_way == [calm, fine]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"id": 1, "tags": ["a"]}, id="a list, that becomes a table"),
        pytest.param({"id": 1, "userId": 1, "user_id": 2}, id="two fields of one column"),
        pytest.param({"id": 1, "paid": 7}, id="a number in a column of decimals, whose digits are counted"),
        pytest.param({"id": 1, "seen_at": 1_700_000_000}, id="a number that is configured as a moment"),
        pytest.param({"id": 1, "born_at": "no date"}, id="a value that does not fit its column"),
        pytest.param({"id": "1"}, id="a key that is no integer"),
    ],
)
def test_what_only_dlt_can_judge_goes_its_own_way(row: Any) -> None:
    calm = {"id": 1, "born_at": MOMENTS[0]}
    _, _, own_way = normalized([[calm, row, row]], shortly=True)
    assert own_way == [calm, row, row]


def test_a_schema_that_leaves_fields_out_is_obeyed() -> None:
    written, schema = Written(), schema_of_contacts()
    schema._compiled_excludes = {TABLE: []}  # noqa: SLF001 - what dlt makes of such a schema
    normalizer: Any = JsonLItemsNormalizer(written, None, None, schema, "1700000000.0", Config())  # type: ignore[arg-type]
    normalizer._normalize_chunk(TABLE, [{"id": 1}, {"id": 2}], False, False)  # noqa: FBT003, SLF001 - dlt's own
    assert "shortcuts" not in vars(normalizer)
