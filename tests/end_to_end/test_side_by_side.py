"""One run per resource; different resources side by side; what is committed can be asked for at any time."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.end_to_end.support import Answer, difference, serving
from tests.end_to_end.support.tables import EXACT
from tests.function import ROOT
from tests.sample_api import Behaviour, Failure, SampleApi, World


def test_of_two_functions_on_one_resource_one_completes_and_one_is_skipped(tmp_path: Path) -> None:
    world = World({"contacts": 500, "companies": 500}, Behaviour(latency=0.2))
    with (
        SampleApi(world) as api,
        serving(api, tmp_path / "one", BUCKET_URL=str(tmp_path / "bucket"), TIMEOUT_SECONDS=60) as one,
        serving(api, tmp_path / "two", BUCKET_URL=str(tmp_path / "bucket"), TIMEOUT_SECONDS=60) as two,
    ):
        answers: list[Answer] = []
        orders = [(one, "contacts"), (two, "contacts"), (one, "companies")]
        threads = [
            threading.Thread(target=lambda to=to, name=name: answers.append(to.load(name))) for to, name in orders
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.code for answer in answers} == {200}
        by_status = sorted((answer["resource"], answer["status"]) for answer in answers)
        assert by_status == [("companies", "complete"), ("contacts", "complete"), ("contacts", "skipped")]
        skipped = next(answer for answer in answers if answer["status"] == "skipped")
        assert (skipped["rows"], skipped["pages"], skipped["reason"]) == (0, 0, "another run is loading this resource")
    for resource in ("contacts", "companies"):
        assert difference(tmp_path / "bucket", world.snapshot(resource), resource) == EXACT


def test_status_reads_what_is_committed_without_a_key_and_never_calls_the_api(tmp_path: Path) -> None:
    waiting = Behaviour(failures={3: Failure(429, retry_after=6_000)})
    world = World({"contacts": 500, "companies": 50}, overrides={"contacts": waiting})
    with SampleApi(world) as api, serving(api, tmp_path, TIMEOUT_SECONDS=60) as function:
        paused, complete = function.load("contacts"), function.load("companies")
        asked = len(api.requests)
        answer = function.status()
        assert answer.code == 200
        assert (answer["source"], answer["destination"], answer["dataset"]) == ("analytics", "filesystem", "analytics")
        assert answer["resources"]["contacts"] == {
            "status": "paused",
            "place": paused["place"],
            "pass_started_at": paused["pass"]["started_at"],
            "pass_rows": paused["pass"]["rows"],
            "verified": None,
            "checks": None,
            "completed_at": None,
        }
        companies = answer["resources"]["companies"]
        assert (companies["status"], companies["pass_rows"]) == ("complete", 50)
        assert companies["verified"] == complete["pass"]["verified"]
        assert companies["completed_at"]
        assert answer["resources"]["teams"]["status"] == "never"
        assert shell_status(tmp_path / "bucket") == answer.body
        assert len(api.requests) == asked


def shell_status(bucket: Path) -> Any:
    """Give what `--status --json` prints, without a key and an address."""
    done = subprocess.run(
        [sys.executable, "main.py", "--status", "--json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(bucket), "BUCKET_URL": str(bucket)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)
