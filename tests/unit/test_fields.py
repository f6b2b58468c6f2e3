"""Two fields never share a column, and a number is not split, whatever the rows are like."""

from typing import Any

import pytest
from dlt.common.data_types.typing import DATA_TYPES
from dlt.common.normalizers.naming.snake_case import NamingConvention
from dlt.common.typing import VARIANT_FIELD_FORMAT

from loader.fields import (
    OWN_NAMES,
    Column,
    Path,
    colliding,
    columns_of,
    is_taken,
    new_names,
    split_numbers,
    with_new_names,
    with_own_names,
)

names = NamingConvention().normalize_path


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([{"userId": 1, "user_id": 2}], {("user_id",): {("userId",), ("user_id",)}}, id="in one row"),
        pytest.param([{"ID": 1}, {"id": 2}], {("id",): {("ID",), ("id",)}}, id="in different rows"),
        pytest.param(
            [{"a": {"b": 1}, "a__b": 2}], {("a__b",): {("a", "b"), ("a__b",)}}, id="with a field of an object"
        ),
        pytest.param([{"a": {"b": 1}, "A": {"c": 2}}], {}, id="objects whose fields have nothing in common"),
        pytest.param([{"a": {"Id": 1}, "id": 2, "ID": None}], {("id",): {("id",), ("ID",)}}, id="elsewhere it is free"),
        pytest.param(
            [{"tags": [{"Name": 1}, {"name": 2}], "name": 3}],
            {("tags", "name"): {("tags", "Name"), ("tags", "name")}},
            id="in objects of a list",
        ),
        pytest.param([{"tags": [1], "Tags": [2]}], {("tags",): {("tags",), ("Tags",)}}, id="lists"),
        pytest.param([{"日本": 1, "東京": 2}], {("x",): {("日本",), ("東京",)}}, id="names without a Latin letter"),
        pytest.param([{"": 1, " ": 2}], {("_empty",): {("",), (" ",)}}, id="empty names"),
        pytest.param([{"__": 1, "": 2}], {("_empty",): {("",), ("__",)}}, id="names that nothing is left of"),
        pytest.param(
            [{"____": {"b": 1}, "": {"b": 2}}], {("_empty__b",): {("", "b"), ("____", "b")}}, id="the same of objects"
        ),
        pytest.param([{"userId": 1}, {"userId": 2, "id": 3}], {}, id="calm"),
        pytest.param([1, None, "text"], {}, id="no objects"),
    ],
)
def test_names_collide_where_one_column_would_have_two_fields(
    rows: list[Any], expected: dict[Column, set[Path]]
) -> None:
    found = columns_of(rows, names)
    assert colliding(found) == expected
    renamed = new_names(found, names)
    assert not colliding(columns_of(with_new_names(rows, renamed), names))
    assert bool(renamed) == bool(expected)


def test_a_new_name_depends_on_nothing_but_the_field() -> None:
    there = new_names(columns_of([{"userId": 1, "user_id": 2}], names), names)
    back = new_names(columns_of([{"user_id": 2}, {"USER_ID": 3, "userId": 1}], names), names)
    assert there == {("userId",): "user_id_dc2a24"}
    assert there.items() < back.items()
    assert set(back) == {("userId",), ("USER_ID",)}


@pytest.mark.parametrize(
    ("row", "renamed"),
    [
        pytest.param(
            {"_dlt_id": 1, "_loaderRowHash": 2, "_deletedAt": 3},
            {"_dlt_id": "dlt_id", "_loaderRowHash": "loader_row_hash", "_deletedAt": "deleted_at"},
            id="what dlt and the loader add",
        ),
        pytest.param(
            {"list": [{"_dlt_parent_id": 1, "_dltListIdx": 2}]},
            {"list._dlt_parent_id": "dlt_parent_id", "list._dltListIdx": "dlt_list_idx"},
            id="in objects of a list",
        ),
        pytest.param(
            {"p__v_text": 1, "q": {"v_double": 2}},
            {"p__v_text": "p__v_text", "q.v_double": "v_double"},
            id="what variants are called",
        ),
        pytest.param({"dlt_id": 1, "deleted_at": 3, "a": {"_dlt_id": 4}}, {}, id="names that are free"),
        pytest.param({"v_text": 1, "p": {"v_max": 2}, "p__v_text_a": 3}, {}, id="names like those of variants"),
    ],
)
def test_a_field_that_is_called_like_what_dlt_or_the_loader_adds_gets_another_name(
    row: Any, renamed: dict[str, str]
) -> None:
    found = new_names(columns_of([row], names), names)
    assert {".".join(path): name.rsplit("_", 1)[0] for path, name in found.items()} == renamed
    assert not new_names(columns_of([with_new_names(row, found)], names), names)


@pytest.mark.parametrize("kind", sorted(DATA_TYPES))
def test_each_type_of_dlts_may_be_in_the_name_of_a_variant(kind: str) -> None:
    assert is_taken(f"p__{VARIANT_FIELD_FORMAT % kind}")


def test_a_field_is_called_the_same_whether_it_is_renamed_before_its_row_is_changed_or_after() -> None:
    row = dict.fromkeys(OWN_NAMES, 1)
    assert with_own_names(row) == with_new_names(row, new_names(columns_of([row], names), names))
    assert with_own_names({"id": 1}) == {"id": 1}


def test_a_field_that_had_the_column_before_keeps_it() -> None:
    found = columns_of([{"userId": 1, "user_id": 2}], names)
    assert set(new_names(found, names, owners=[("userId",)])) == {("user_id",)}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([{"a": 1}, {"a": 1.5}], {("a",)}, id="whole numbers first"),
        pytest.param([{"a": 1.5}, {"a": 1}], {("a",)}, id="others first"),
        pytest.param([{"a": 1}, {"a": 2.0}], set(), id="written with a point, but whole"),
        pytest.param([{"a": True}, {"a": 0.5}], set(), id="a boolean is no number"),
        pytest.param([{"a": {"b": 1}}, {"a": {"b": 1.5}}], {("a__b",)}, id="in an object"),
        pytest.param([{"a": [{"b": 1}, {"b": 1.5}]}], {("a", "b")}, id="in objects of a list"),
        pytest.param([{"a": [1, 1.5]}], {("a", "value")}, id="in a list"),
        pytest.param([{"a": None}, {"a": 7}], set(), id="calm"),
    ],
)
def test_a_number_is_split_where_some_are_whole_and_some_are_not(rows: list[Any], expected: set[Column]) -> None:
    assert split_numbers(rows, names) == expected
