"""Runs the BigQuery emulator, with locks that it lacks; in the emulator's own environment, which has nothing of ours.

python bigquery_launcher.py PORT GRPC_PORT PROJECT DATA_FOLDER
"""

import importlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(port: int, grpc_port: int, project: str, folder: Path) -> None:
    """Serve until killed."""
    options = importlib.import_module("local_bigquery.settings").settings
    options.bigquery_host, options.bigquery_port, options.grpc_port = "127.0.0.1", port, grpc_port
    options.default_project_id, options.default_dataset_id, options.data_dir = project, "scratch", folder
    link_extensions(Path.home() / ".duckdb" / "extensions")
    # simultaneous writers make it answer 400 instead of 409, or lose a data set
    writing, submitting = threading.RLock(), threading.RLock()
    for catalog in ("datasets", "tables"):
        module = importlib.import_module(f"local_bigquery.catalog.{catalog}")
        for name in ("create", "update", "delete"):
            setattr(module, name, _one_at_a_time(getattr(module, name), writing))
    runner: Any = importlib.import_module("local_bigquery.jobs.runner")
    runner._execute = _one_at_a_time(runner._execute, writing)  # noqa: SLF001 - there is no other place
    runner.submit = _one_at_a_time(runner.submit, submitting)
    importlib.import_module("local_bigquery.grpc.server").start("127.0.0.1", grpc_port)
    uvicorn: Any = importlib.import_module("uvicorn")
    uvicorn.run("local_bigquery:app", host="127.0.0.1", port=port, timeout_keep_alive=600, log_level="warning")


def link_extensions(folder: Path) -> None:
    """Put DuckDB's extensions where it looks for them; it would download them otherwise."""
    duckdb: Any = importlib.import_module("duckdb")
    platform = duckdb.sql("PRAGMA platform").fetchone()[0]
    for name in ("ducklake", "httpfs", "icu", "spatial"):
        package = Path(str(importlib.import_module(f"duckdb_extension_{name}").__file__)).parent
        for extension in package.glob("extensions/*/*.duckdb_extension"):
            target = folder / extension.parent.name / platform / extension.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(extension)


def _one_at_a_time(work: Callable[..., Any], lock: threading.RLock) -> Callable[..., Any]:
    def locked(*args: Any, **kwargs: Any) -> Any:
        with lock:
            return work(*args, **kwargs)

    return locked


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
