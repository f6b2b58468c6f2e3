"""The keys that a pass has seen, beside a bucket's tables: unchanged rows are not staged, so their table can't tell.

A file per commit, with 8 bytes for each key. It is written before the commit, so what is committed has been noted; a
key that is noted twice, or for a commit that failed, was seen all the same.
"""

import uuid
from array import array
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(slots=True)
class Seen:
    """Keys that one resource's passes have seen."""

    files: Any
    """The bucket's file system."""
    folder: str
    """Of the resource, in it."""
    hashes: "array[int]" = field(default_factory=lambda: array("q"))
    """Of keys that are not noted yet."""

    def add(self, hashed: int) -> None:
        """Take a key, by its hash."""
        self.hashes.append(hashed)

    def note(self, started_at: str) -> None:
        """Note the keys for the pass that began then."""
        if self.hashes:
            path = f"{self._of(started_at)}/{uuid.uuid4().hex}"
            self.files.makedirs(self._of(started_at), exist_ok=True)
            self.files.pipe_file(path, self.hashes.tobytes())
            self.hashes = array("q")

    def sorted_keys(self, started_at: str) -> Any:
        """Give the keys that the pass that began then has seen, ascending."""
        folder = self._of(started_at)
        self.files.invalidate_cache()
        paths = self.files.ls(folder, detail=False) if self.files.exists(folder) else []
        parts = [np.frombuffer(self.files.cat_file(path), np.int64) for path in paths]
        return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))

    def clear(self) -> None:
        """Delete what was noted: no pass is under way."""
        self.files.invalidate_cache()
        if self.files.exists(self.folder):
            self.files.rm(self.folder, recursive=True)

    def _of(self, started_at: str) -> str:
        return f"{self.folder}/{''.join(letter for letter in started_at if letter.isalnum())}"
