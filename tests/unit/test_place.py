"""The place survives the state, tells versions and configurations apart, and never shows a key."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

from loader.chunk import Commit
from loader.place import STATE_KEY, Pass, Record, fingerprint, shown

ROOT = Path(__file__).parents[2]
STARTED_AT = "2026-01-01T00:00:00.000+00:00"

FINGERPRINTS = """
import dlt
from loader.place import fingerprint
class Plain: pass
plain = Plain()
plain.text, plain.inner = "a", Plain()
print(fingerprint([plain, dlt.sources.incremental("updated_at", initial_value="2024", last_value_func=lambda v: 1)]))
"""


def paused() -> Record:
    current = Pass(STARTED_AT, {"offset": 500}, rows=500, pages=5, runs=2, cursors={"updated_at": {"last_value": 7}})
    return Record("fingerprint", current, commit=Commit(1.5, 20_000))


def test_a_record_survives_the_state_as_json() -> None:
    state: dict[str, Any] = {"incremental": {}}
    paused().write(state)
    assert Record.of(json.loads(json.dumps(state))) == paused()
    assert "incremental" in state


@pytest.mark.parametrize("changed", [{"format": 0}, {"format": "1"}, {"format": None}])
def test_a_record_of_another_format_is_none(changed: dict[str, Any]) -> None:
    state: dict[str, Any] = {}
    paused().write(state)
    state[STATE_KEY] |= changed
    assert Record.of(state) is None


def test_a_run_begins_a_pass_or_goes_on_with_the_paused_one() -> None:
    begun = Record("fingerprint").began(Pass(STARTED_AT))
    assert begun.current == Pass(STARTED_AT)
    later = paused().began(Pass("2026-01-02T00:00:00.000+00:00"))
    assert later == replace(paused(), current=replace(paused().current, runs=3))  # type: ignore[type-var]


def test_a_fingerprint_is_the_same_in_every_process_and_after_a_run() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", FINGERPRINTS],
            env={"PYTHONHASHSEED": seed, "HOME": "/"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    incremental = dlt.sources.incremental("updated_at", initial_value="2024")
    before = fingerprint(incremental)
    incremental._cached_state = {"last_value": "2026"}  # type: ignore[typeddict-item]  # noqa: SLF001
    assert fingerprint(incremental) == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"path": "/v1/a"}, {"path": "/v1/b"}, id="path"),
        pytest.param({"params": {"state": "open"}}, {"params": {"state": "closed"}}, id="params"),
        pytest.param("id", ["id", "part"], id="primary key"),
        pytest.param(vars(OffsetPaginator(100)), vars(OffsetPaginator(50)), id="limit"),
        pytest.param(
            dlt.sources.incremental("updated_at", initial_value="2024"),
            dlt.sources.incremental("created_at", initial_value="2024"),
            id="incremental",
        ),
    ],
)
def test_a_fingerprint_tells_configurations_apart(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_place_shows_numbers_as_they_are_and_hides_the_rest() -> None:
    assert shown({"offset": 500, "trail": ["hash of a key"]}) == {"offset": 500}
    hidden = shown({"cursor": "ada@example.com"})
    assert hidden is not None
    assert set(hidden) == {"cursor"}
    assert "ada" not in json.dumps(hidden)
    assert shown(None) is None
