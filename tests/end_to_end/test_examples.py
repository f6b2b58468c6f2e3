"""The examples are whole: each is served as it stands, and loads the sample API."""

from pathlib import Path
from typing import Any

from tests.end_to_end.support import serving
from tests.end_to_end.support.tables import EXACT, difference, ids_of, rows_of
from tests.function import ROOT
from tests.sample_api import Behaviour, SampleApi, World, make_parts


def example(name: str) -> str:
    return (ROOT / "tests" / "examples" / f"{name}.py").read_text()


def query(api: SampleApi, name: str) -> list[Any]:
    return [request.query.get(name) for request in api.requests]


def test_page_numbers_and_a_bearer_token(tmp_path: Path) -> None:
    world = World({"contacts": 230}, Behaviour(style="page_number", auth="bearer"))
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, config=example("page_numbers"), BASE_URL=f"{api.url}/v1/") as function,
    ):
        answer = function.load("contacts")
        assert set(query(api, "page")) == {"1", "2", "3", "4", "5"}
        assert set(query(api, "per_page")) == {"50"}
    assert (answer["status"], answer["rows"], answer["pass"]["verified"]) == ("complete", 230, True)
    assert difference(tmp_path / "bucket", world.snapshot("contacts")) == EXACT


def test_a_cursor_and_only_what_has_changed(tmp_path: Path) -> None:
    world = World({"conversations": 230}, Behaviour(style="cursor", auth="header"))
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, config=example("cursor"), BASE_URL=f"{api.url}/v1/") as function,
    ):
        assert function.load("conversations")["rows"] == 230
        newest = max(row["updated_at"] for row in world.snapshot("conversations"))
        world.touch("conversations", 7)
        world.insert("conversations")
        asked = len(api.requests)
        answer = function.load("conversations")
        assert set(query(api, "updated_since")[asked:]) == {newest}
        assert len(api.requests) - asked <= 2
        world.delete("conversations", 9)
        swept = function.load("conversations", sweep=True)
    assert (answer["status"], swept["status"]) == ("complete", "complete")
    living = [row for row in rows_of(tmp_path / "bucket", "conversations") if row["_deleted_at"] is None]
    assert {row["id"]: row["revision"] for row in living} == {
        row["id"]: row["revision"] for row in world.snapshot("conversations")
    }
    assert len(living) == 230


def test_a_resource_that_depends_on_another(tmp_path: Path) -> None:
    world = World({"conversations": 12})
    with (
        SampleApi(world) as api,
        serving(api, tmp_path, config=example("dependent"), BASE_URL=f"{api.url}/v1/") as function,
    ):
        answers = [function.load(name) for name in ("conversations", "parts")]
    assert [answer["status"] for answer in answers] == ["complete", "complete"]
    parts = {row["id"]: key for key in range(1, 13) for row in make_parts(key)}
    assert ids_of(tmp_path / "bucket", "parts") == sorted(parts)
    assert {row["id"]: row["_conversations_id"] for row in rows_of(tmp_path / "bucket", "parts")} == parts
