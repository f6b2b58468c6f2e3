"""The lease in a bucket: numbered files, created exclusively, never deleted to take them over.

An expired lease N is taken over by creating N + 1. To read, delete and create was tried instead: of twenty at once, not
once in fifty rounds exactly one had won.
"""

import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from loader.clock import Clock, SystemClock
from loader.errors import DestinationError

KEPT = 10
"""So many old numbers are kept; who is slower than that loses anyway."""


class NumberedFiles:
    """The lease of one resource, as files 1, 2, 3 ... in a folder; the highest number holds."""

    def __init__(self, files: AbstractFileSystem, folder: str, clock: Clock | None = None) -> None:
        self._files = files
        self._folder = folder.rstrip("/")
        self._clock = clock or SystemClock()
        self._mine = 0
        self._record: dict[str, Any] = {}

    @property
    def number(self) -> str:
        """The number that is held, or empty."""
        return str(self._mine or "")

    def take(self, expires_at: float) -> Mapping[str, Any] | None:
        """Take the next number, if the highest is over."""
        highest = max(self._numbers(), default=0)
        try:
            before: dict[str, Any] = self._read(highest) if highest else {"expires_at": 0.0}
        except FileNotFoundError:
            # so many came and went since we looked that it was cleared away
            return None
        if before["expires_at"] > self._clock.time():
            return None
        self._record = {"holder": uuid.uuid4().hex, "expires_at": expires_at}
        if not self._create(highest + 1):
            return None
        numbers = self._numbers()
        if max(numbers) != highest + 1:
            # others came and went since we looked
            return None
        self._mine = highest + 1
        for number in numbers:
            if number <= self._mine - KEPT:
                with suppress(FileNotFoundError):
                    self._files.rm_file(self._path(number))
        note: Mapping[str, Any] = before.get("note", {})
        return note

    def renew(self, expires_at: float, note: Mapping[str, Any]) -> None:
        """Write the file of this number again."""
        self._record |= {"expires_at": expires_at, "note": dict(note)}
        self._write()

    def is_mine(self) -> bool:
        """Tell whether this number is the highest."""
        return max(self._numbers(), default=0) == self._mine

    def release(self) -> None:
        """Let it be over."""
        self._record |= {"expires_at": 0.0}
        self._write()

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:012d}.json"

    def _numbers(self) -> list[int]:
        self._files.invalidate_cache(self._folder)
        try:
            paths = self._files.ls(self._folder, detail=False)
        except FileNotFoundError:
            return []
        names = [Path(path).name.removesuffix(".json") for path in paths]
        return [int(name) for name in names if name.isdigit()]

    def _read(self, number: int) -> dict[str, Any]:
        path = self._path(number)
        try:
            record: dict[str, Any] = json.loads(self._files.cat_file(path))
            record["expires_at"] = float(record["expires_at"])
        except (KeyError, TypeError, ValueError):
            # its holder was killed between creating and writing it
            made_at = self._files.modified(path).timestamp()
            return {"expires_at": made_at + 120.0}
        return record

    def _create(self, number: int) -> bool:
        data = json.dumps(self._record).encode()
        try:
            if "file" in self._files.protocol:
                self._link(data, Path(self._path(number)))
            else:
                self._files.pipe_file(self._path(number), data, mode="create")
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise DestinationError(
                f"There is no bucket for {self._folder}. Make it, or set BUCKET_URL to one that there is. "
                "Nothing was read, and the place stays where it is."
            ) from error
        return True

    @staticmethod
    def _link(data: bytes, path: Path) -> None:
        """Make a local file that must not be there yet, whole from its first moment.

        fsspec's exclusive mode is not atomic on a local folder; and a file that is made first and written then is seen
        empty in between.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{uuid.uuid4().hex}.draft")
        draft.write_bytes(data)
        try:
            path.hardlink_to(draft)
        finally:
            draft.unlink()

    def _write(self) -> None:
        self._files.write_text(self._path(self._mine), json.dumps(self._record))
