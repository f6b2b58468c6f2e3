"""`--check` at a shell: what a person and a script get, and that nothing is left behind."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader import shell
from tests.clock import DrivenClock
from tests.function import ROOT
from tests.sample_api import KEY, RESOURCES, Behaviour, Failure, SampleApi, World

ROWS = dict(zip(RESOURCES, (1234, 500, 99, 1, 0), strict=True))
LINES, COLUMNS = 50, 100


@pytest.fixture
def api() -> Iterator[SampleApi]:
    overrides = {"contacts": Behaviour(page_cap=50), "conversation_parts": Behaviour(total_error=7)}
    with SampleApi(World(ROWS, overrides=overrides)) as server:
        yield server


def environment(api: SampleApi, folder: Path) -> dict[str, str]:
    """Give the whole environment of a process that has nowhere to write but into a folder."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BUCKET_URL": str(folder / "data"),
        "API_KEY": KEY,
        "BASE_URL": api.url,
    }


def test_a_script_gets_an_object_a_line_and_nothing_is_left_behind(api: SampleApi, tmp_path: Path) -> None:
    command = [sys.executable, "main.py", "--check", "contacts", "conversation_parts", "companies", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(api, tmp_path), capture_output=True, text=True, timeout=60, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(answer["resource"], answer["ok"]) for answer in answers] == [
        ("contacts", True),
        ("conversation_parts", False),
        ("companies", True),
    ]
    names = {"resource", "ok", "requests", "page", "total", "columns", "findings"}
    assert all(answer.keys() == names for answer in answers)
    assert done.returncode == 1
    assert KEY not in done.stdout + done.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.long
def test_five_resources_fit_on_a_screen(api: SampleApi, tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    with subprocess.Popen(
        [sys.executable, "main.py", "--check"],
        cwd=ROOT,
        env={**environment(api, tmp_path), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(terminal)
        shown = _all(screen)
    lines = [_plain(line) for line in shown.splitlines()]
    assert process.returncode == 1
    assert len(lines) < LINES
    assert max(map(len, lines)) <= COLUMNS
    assert all(any(line.startswith(f"  {resource} ") for line in lines) for resource in RESOURCES)
    assert '    "paginator": {"type": "offset", "limit": 50},' in [line.rstrip() for line in lines]
    assert "phone:text?" in shown
    assert KEY not in shown


@pytest.mark.usefixtures("own_log")
@pytest.mark.parametrize(
    ("variables", "arguments", "kind"),
    [
        pytest.param({}, ["team"], "request", id="unknown_resource"),
        pytest.param({"API_KEY": ""}, [], "settings", id="no_key"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_called(
    api: SampleApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    arguments: list[str],
    kind: str,
) -> None:
    for name, value in {**environment(api, tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    assert shell.main(["--check", *arguments, "--json"]) == 1
    [told] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told["error"]["type"] == kind
    assert api.requests == []


@pytest.mark.usefixtures("own_log")
def test_one_that_fails_keeps_no_other_from_being_looked_at(
    api: SampleApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(api, tmp_path).items():
        monkeypatch.setenv(name, value)
    api.world.behave(Behaviour(fail_from=(1, Failure(503))), "teams")
    clock = DrivenClock()
    assert shell.main(["--check", "teams", "companies"], clock) == 1
    shown = capsys.readouterr().out
    assert "error unreachable in teams" in shown
    assert "note no_data in companies" in shown
    assert clock.sleeps == [2, 4, 8]


def _all(screen: int) -> str:
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(screen, 65536)
        except OSError:
            # the other side is closed
            piece = b""
        if not piece:
            os.close(screen)
            return b"".join(pieces).decode()
        pieces.append(piece)


def _plain(line: str) -> str:
    """Take the colours out."""
    parts = line.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])
