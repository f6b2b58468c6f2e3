"""Other Pythons on this machine, found by running them: what stands on the PATH may be a shim that fails."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


def find(version: str) -> str | None:
    """Give a Python of that version, like "3.13", or None."""
    return next((candidate for candidate in _candidates(version) if _is(candidate, version)), None)


def _candidates(version: str) -> Iterator[str]:
    name = f"python{version}"
    for folder in (Path(entry) for entry in os.environ["PATH"].split(os.pathsep) if entry):
        yield str(folder / name)
        # pyenv keeps what its shims stand for beside them
        yield from sorted((str(path) for path in folder.parent.glob(f"versions/{version}*/bin/{name}")), reverse=True)
    for root in (Path.home() / ".pyenv" / "versions", Path.home() / ".local" / "share" / "uv" / "python", Path("/opt")):
        yield from sorted((str(path) for path in root.glob(f"*{version}*/bin/{name}")), reverse=True)


def _is(candidate: str, version: str) -> bool:
    command = [candidate, "-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version
