"""The function as it is served, loading the sample API: what it answers, and how long that takes."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tests.function
from tests.function import ROOT
from tests.sample_api import KEY, SampleApi


@dataclass(frozen=True, slots=True)
class Answer:
    """What the function answered."""

    code: int
    body: dict[str, Any]
    seconds: float
    """From the request to the answer, as the caller saw it."""

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


class Function(tests.function.Function):
    """A function that is being served."""

    def __init__(self, folder: Path, environment: Mapping[str, str], config: str) -> None:
        """Start it.

        Args:
            folder: where it works: its source_config.py, its temporary files and its log.
            environment: all of it, but for PATH.
            config: text of its source_config.py.
        """
        self.folder = folder
        self.temporary = folder / "tmp"
        """Where its working folders are made: the disk of its machine."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        (folder / "source_config.py").write_text(config)
        super().__init__({**environment, "TMPDIR": str(self.temporary)}, folder / "log.txt", folder)
        self.start()

    def load(self, resource: str = "contacts", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """Ask it to run a resource; `fields` are those of the request."""
        return self.ask("POST", {"resource": resource, **fields}, headers)

    def status(self) -> Answer:
        """Ask what is committed."""
        return self.ask("GET")

    def ask(self, method: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send it a request."""
        began = time.monotonic()
        response = self.request(method, None if body is None else json.dumps(body).encode(), headers)
        return Answer(response.status_code, response.json(), time.monotonic() - began)


@contextmanager
def serving(
    api: SampleApi,
    folder: Path,
    *,
    config: str | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: str | int,
) -> Iterator[Function]:
    """Serve the function, loading the sample API into `folder/bucket`, or where the environment says.

    It must leave the key in none of its files.

    Args:
        api: what it reads.
        folder: for its files; several functions may share it if they are served one after the other.
        config: text of source_config.py; the project's own, reading one page after the other, if not given.
        environment: more of its environment, under the settings.
        settings: variables of its environment.
    """
    variables: dict[str, str] = {
        "HOME": str(folder),
        "BUCKET_URL": str(folder / "bucket"),
        **(environment or {}),
        "API_KEY": KEY,
        "BASE_URL": api.url,
        **{name: str(value) for name, value in settings.items()},
    }
    function = Function(folder / "function", variables, config or own_config())
    try:
        yield function
    finally:
        function.kill()
    files = [path for path in function.folder.rglob("*") if path.is_file()]
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def own_config(pages_in_flight: int = 1) -> str:
    """Give the text of the project's own source_config.py, with so many pages in flight."""
    text = (ROOT / "source_config.py").read_text()
    return re.sub(r"PAGES_IN_FLIGHT = \d+", f"PAGES_IN_FLIGHT = {pages_in_flight}", text)
