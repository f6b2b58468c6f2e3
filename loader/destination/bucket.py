"""A bucket or a local folder: one Delta table per resource."""

import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dlt.common import json
from dlt.common.destination.client import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.common.schema.utils import get_columns_names_with_prop
from dlt.destinations import filesystem
from dlt.destinations.impl.filesystem.configuration import FilesystemDestinationClientConfiguration
from dlt.destinations.impl.filesystem.filesystem import (
    DeltaLoadFilesystemJob,
    FilesystemClient,
    ReferenceFollowupJob,
)
from dlt.extract import DltResource
from fsspec.implementations.local import LocalFileSystem

from loader.destination.bucket_lease import NumberedFiles
from loader.lease import Gate, LeaseStore

MEBIBYTE = 1 << 20


class Bucket:
    """A folder or `gs://...`, with one Delta table per resource in the folder of the data set."""

    chunk_bytes = 15 * MEBIBYTE
    """The whole process then peaks at about 400 MiB, files of the working folder (they are memory) counted."""

    def __init__(self, url: str, dataset_name: str, gate: Gate) -> None:
        self._url = url
        self._dataset_name = dataset_name
        self._gate = gate

    def factory(self) -> "DeltaBucket":
        """Give dlt's filesystem destination, whose commits pass the gate."""
        factory = DeltaBucket(bucket_url=self._url)
        factory.gate = self._gate
        return factory

    def adapt(self, resource: DltResource) -> None:
        """Let the resource be a Delta table whose lists are JSON text in their row."""
        resource.apply_hints(table_format="delta")
        resource.add_map(with_lists_as_text)

    def chunk_seconds(self, resources: int) -> float:
        """Give 300 s: what a kill may cost."""
        del resources
        return 300.0

    def lease(self, resource: str) -> LeaseStore:
        """Give the lease of a resource: numbered files beside the data sets."""
        factory = self.factory()
        config = factory.spec()._bind_dataset_name(self._dataset_name)  # noqa: SLF001 - see docs/dlt.md
        client = factory.client(Schema(resource), config)
        folder = client.pathlib.join(client.bucket_path, "_loader_leases", self._dataset_name, resource)
        return NumberedFiles(client.fs_client, folder)

    def tidy(self, pipeline_name: str) -> None:
        """Keep everything: nothing here costs anything before it is read."""
        del pipeline_name


def with_lists_as_text(row: Any) -> Any:
    """Give the row with each list, at any depth of its objects, as JSON text; dlt would make tables of them."""
    if not isinstance(row, dict):
        return row
    open_objects = [row]
    while open_objects:
        for name, value in (here := open_objects.pop()).items():
            if isinstance(value, list):
                here[name] = json.dumps(value)
            elif isinstance(value, dict):
                open_objects.append(value)
    return row


class DeltaBucket(filesystem):
    """dlt's filesystem destination, with our client."""

    gate: Gate

    @property
    def destination_type(self) -> str:
        """Give dlt's own type: what is committed can be read by plain dlt."""
        return "dlt.destinations.filesystem"

    @property
    def client_class(self) -> type[FilesystemClient]:
        """Give our client."""
        return DeltaClient

    def client(
        self,
        schema: Schema,
        initial_config: FilesystemDestinationClientConfiguration = None,  # type: ignore[assignment]
    ) -> "DeltaClient":
        """Give a client whose commits pass the gate."""
        client = super().client(schema, initial_config)
        assert isinstance(client, DeltaClient)  # noqa: S101 - of `client_class`
        client.gate = self.gate
        return client


class DeltaClient(FilesystemClient):
    """dlt's client of it: small files are written whole, and each commit passes the gate."""

    gate: Gate

    def __init__(self, schema: Schema, config: Any, capabilities: Any) -> None:
        super().__init__(schema, config, capabilities)
        if self.is_local_filesystem:
            self.fs_client = WholeFiles()

    @staticmethod
    def get_reference_followup_job_class(table: PreparedTableSchema) -> type[ReferenceFollowupJob] | None:
        """Give the job that writes a package into a Delta table."""
        if table.get("table_format") == "delta":
            return DeltaJob
        return FilesystemClient.get_reference_followup_job_class(table)

    def create_dataset(self) -> None:
        """Make the folder of the data set; a run that was killed, or one beside this one, may have made it already."""
        self.fs_client.makedirs(self.dataset_path, exist_ok=True)

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """Make the data set, past the gate."""
        self.gate.pass_through()
        super().initialize_storage(truncate_tables)  # type: ignore[arg-type]

    def complete_load(self, load_id: str) -> None:
        """Commit the state (and with it the place), past the gate."""
        self.gate.pass_through()
        super().complete_load(load_id)


class DeltaJob(DeltaLoadFilesystemJob):
    """Writes the files of a package into their Delta table."""

    _job_client: DeltaClient

    def run(self) -> None:
        """Write them, past the gate; of rows with one key, the last."""
        self._job_client.gate.pass_through()
        # dlt reads the names of all files in its own folder
        with tempfile.TemporaryDirectory(prefix="loader-") as folder:
            if self._load_table["write_disposition"] == "merge":
                self._keep_last_of_each_key(Path(folder))
            super().run()

    def _keep_last_of_each_key(self, folder: Path) -> None:
        # a merge of Delta's has no opinion on rows that match twice
        rows = self.arrow_dataset.to_table()
        keys = get_columns_names_with_prop(self._load_table, "primary_key")  # type: ignore[arg-type]
        kept = last_of_each_key(rows, keys)
        if kept.num_rows < rows.num_rows:
            pq.write_table(kept, folder / "kept.parquet")
            self.file_paths = [str(folder / "kept.parquet")]


def last_of_each_key(rows: pa.Table, keys: list[str]) -> pa.Table:
    """Give the last row of each key, in the order of the rows."""
    if not keys:
        return rows
    numbered = rows.select(keys).append_column("_row", pa.array(range(rows.num_rows), pa.int64()))
    last = numbered.group_by(keys).aggregate([("_row", "max")])["_row_max"]
    return rows.take(last.take(pc.sort_indices(last)))


class WholeFiles(LocalFileSystem):  # type: ignore[misc]
    """The local file system; a small file is there whole or not at all.

    dlt writes its state in place, and a file that was cut off by a kill would stop each later run.
    """

    cachable = False

    def write_text(self, path: str, value: str, encoding: str | None = None, **kwargs: Any) -> None:
        """Write a text under another name, and rename it."""
        del kwargs
        target = Path(self._strip_protocol(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        # dlt reads the names of its files in three parts; this one has none
        draft = target.with_name(f".{uuid.uuid4().hex}.draft")
        draft.write_text(value, encoding)
        draft.replace(target)
