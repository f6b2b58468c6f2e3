"""Ends this process at a chosen step: a request to the API, or a write, rename or commit at the destination.

Python tells of files through its audit events, and the HTTP session and Delta's writers are wrapped: nothing in the
product knows of this. A file that is opened for writing is two steps: it is not there, or it is there half written.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import deltalake.table
import requests.adapters

DIED = 77
"""Exit code of a process that came to its step."""

TORN = b'{"half": '
"""What a half-written file holds."""

TABLE_WRITERS = ("create", "delete", "update", "vacuum", "restore", "repair", "create_write_transaction")


class Steps:
    """Counts steps, and ends the process at one of them."""

    def __init__(self, bucket: Path, last: int | None, notes: Path) -> None:
        """Prepare.

        Args:
            bucket: folder whose files count.
            last: number of the step to end at, from 1; None: none.
            notes: file that gets a line per step: what it was.
        """
        self._prefix = str(bucket)
        self._last = last
        self._count = 0
        # pages are asked for by several threads; a step may open the torn file, which is a file event
        self._lock = threading.RLock()
        self._notes = notes.open("a")

    def install(self) -> None:
        """Watch files, requests and Delta tables, until this process ends."""
        sys.addaudithook(self._file_event)
        adapter: Any = requests.adapters.HTTPAdapter
        adapter.send = self._wrapped(adapter.send, "request")
        self._wrap_everywhere(deltalake.write_deltalake)
        merger: Any = deltalake.table.TableMerger
        merger.execute = self._wrapped(merger.execute, "delta merge")
        for name in TABLE_WRITERS:
            setattr(deltalake.DeltaTable, name, self._wrapped(getattr(deltalake.DeltaTable, name), f"delta {name}"))

    def step(self, what: str, torn: str | None = None) -> None:
        """Take a step; `torn` is the file that is to be there half written if this is the last one."""
        with self._lock:
            self._count += 1
            self._notes.write(f"{what}\n")
            self._notes.flush()
            if self._count == self._last:
                if torn:
                    descriptor = os.open(torn, os.O_WRONLY | os.O_CREAT)
                    os.write(descriptor, TORN)
                os._exit(DIED)

    def _wrap_everywhere(self, function: Callable[..., Any]) -> None:
        # those who use it have it under their own name already
        wrapped = self._wrapped(function, "delta write")
        for module in list(sys.modules.values()):
            if vars(module).get(function.__name__) is function:
                setattr(module, function.__name__, wrapped)

    def _wrapped(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.step(f"before a {what}")
            result = function(*args, **kwargs)
            self.step(f"after a {what}")
            return result

        return call

    def _file_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link"}:
            return
        path = arguments[0]
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(self._prefix):
            return
        name = str(path).removeprefix(self._prefix)
        if event == "os.mkdir" and Path(path).is_dir():
            # nothing is made that is not there
            return
        if event != "open":
            self.step(f"{event} {name}")
        elif arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            with self._lock:
                self.step(f"before {name} is written")
                if self._count + 1 == self._last and not Path(path).parent.is_dir():
                    return
                self.step(f"{name} is half written", torn=str(path))
