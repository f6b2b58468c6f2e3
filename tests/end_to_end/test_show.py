"""`make run`: shows the rows, twice the same, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.documents import blocks, words
from tests.function import ROOT, Function
from tests.local_server import ADDRESS

COUNTS = ["conversations: 1,234 rows", "contacts: 500 rows", "conversation_parts: 99 rows", "teams: 1 row"]


def start(folder: Path) -> "subprocess.Popen[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.show"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def listening(text: str) -> list[str]:
    """Give the ports named in a text on which somebody listens."""
    found = []
    for port in re.findall(r"127\.0\.0\.1:(\d+)", text):
        with suppress(ConnectionRefusedError), socket.create_connection((ADDRESS, int(port)), timeout=5):
            found.append(port)
    return found


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run it twice in one folder."""
    folder = tmp_path_factory.mktemp("shown")
    found = []
    for _ in range(2):
        with start(folder) as process:
            output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        found.append(output)
    return found


def test_make_run_shows_the_same_counts_each_time(outputs: list[str]) -> None:
    for output in outputs:
        assert output.count('"status": "complete"') == 5
        assert all(f"\n{count}\n" in output for count in [*COUNTS, "companies: 0 rows"])
        assert "\x1b" not in output
        assert listening(output) == []


def test_the_readme_shows_what_comes(outputs: list[str]) -> None:
    [sample] = [block for block in blocks((ROOT / "README.md").read_text(), "") if block.startswith("The sample API")]
    real, at = timeless(outputs[0]), 0
    for paragraph in sample.split("\n\n"):
        assert timeless(paragraph) in real[at:]
        at = real.index(timeless(paragraph), at)


def timeless(screen: str) -> str:
    """Give the words of a screen, without what differs from one time to the other."""
    return re.sub(r'(?<=127\.0\.0\.1:)\d+|(?<="started_at": )"[^"]*"|(?<="seconds": )[\d.]+', "?", words(screen))


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl_c", "terminated"])
def test_what_make_run_started_ends_with_it(tmp_path: Path, signal_number: signal.Signals) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        assert len(listening(first_line)) == 2
        process.send_signal(signal_number)
        process.wait(timeout=30)
        process.stdout.read()
    assert process.returncode == 128 + signal_number
    until = time.monotonic() + 5
    while listening(first_line) and time.monotonic() < until:
        time.sleep(0.02)
    assert listening(first_line) == []


def test_a_function_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "flask.py").write_text("import nothing_of_that_name\n")
    function = Function({"HOME": str(tmp_path)}, tmp_path / "log.txt", tmp_path)
    with pytest.raises(RuntimeError, match="did not start") as raised:
        function.start()
    assert "nothing_of_that_name" in str(raised.value)
    assert listening(function.url) == []
