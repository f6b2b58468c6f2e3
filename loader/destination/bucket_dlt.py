"""dlt's filesystem destination: its commits pass the gate, and its small files are there whole or not at all."""

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
from dlt.common.destination.client import PreparedTableSchema
from dlt.common.libs.deltalake import deltalake_storage_options, ensure_delta_compatible_arrow_schema
from dlt.common.schema import Schema
from dlt.common.schema.utils import get_columns_names_with_prop
from dlt.destinations import filesystem
from dlt.destinations.impl.filesystem.configuration import FilesystemDestinationClientConfiguration
from dlt.destinations.impl.filesystem.filesystem import (
    FILENAME_SEPARATOR,
    DeltaLoadFilesystemJob,
    FilesystemClient,
    ReferenceFollowupJob,
)
from fsspec.implementations.local import LocalFileSystem

from loader.destination.delta import Place
from loader.destination.fold import Fold
from loader.destination.schemas import widen
from loader.destination.stage import stage
from loader.history import TABLE as HISTORY
from loader.lease import Gate

HISTORY_FILES = 100
"""Each pass adds a file of one row to the history; so many are made one."""


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

    def place(self, table: str) -> Place:
        """Give where a table is."""
        return Place(self.get_open_table_location("delta", table), self._options())

    def staged(self, table: str) -> Place:
        """Give where the rows are that wait to be folded into a table."""
        _, dataset = self.create_dataset_names(self.schema, self.config)
        path = self.pathlib.join(self.bucket_path, dataset, table)
        return Place(self.make_remote_url(path), self._options())

    def folds(self) -> Iterator[Fold]:
        """Give the folds of the resource's tables that have staged rows, or may have."""
        for described in self.schema.data_tables(seen_data_only=True):
            table: Any = self.prepare_load_table(described["name"])  # type: ignore[arg-type]
            if table["write_disposition"] == "merge":
                name, keys = table["name"], get_columns_names_with_prop(table, "primary_key")
                yield Fold(name, self.place(name), self.staged(name), tuple(keys), self.gate.pass_through)

    def compact_history(self) -> None:
        """Make one file of the history's many."""
        table = self.place(HISTORY).open()
        if table is not None and len(table.file_uris()) > HISTORY_FILES:
            self.gate.pass_through()
            table.optimize.compact()
            table.vacuum(dry_run=False, full=True)

    def delete_loads(self, schema_name: str, before: float) -> None:
        """Delete dlt's notes of loads of a schema before a moment, in seconds since 1970; nothing reads them."""
        for path in self.list_table_files(self.schema.loads_table_name):
            of, _, load_id = Path(path).stem.rpartition(FILENAME_SEPARATOR)
            if of == schema_name and float(load_id) < before:
                self.fs_client.rm_file(path)

    def _options(self) -> dict[str, str]:
        return deltalake_storage_options(self.config.credentials, self.config.deltalake_storage_options)

    def complete_load(self, load_id: str) -> None:
        """Commit the state (and with it the place), past the gate."""
        self.gate.pass_through()
        super().complete_load(load_id)


class DeltaJob(DeltaLoadFilesystemJob):
    """Writes the files of a package into their Delta table, or beside it where they are to be merged."""

    _job_client: DeltaClient

    def run(self) -> None:
        """Write them, past the gate."""
        client = self._job_client
        table: Any = self._load_table
        if table["write_disposition"] == "merge":
            keys = get_columns_names_with_prop(table, "primary_key")
            stage(client.staged(table["name"]), table["name"], self.file_paths, keys, self._load_id, client.gate)
        else:
            self._widen(client.place(table["name"]))
            client.gate.pass_through()
            super().run()

    def _widen(self, place: Place) -> None:
        table = place.open()
        if table is not None:
            new = pads.dataset(self.file_paths).schema
            widen(table, ensure_delta_compatible_arrow_schema(new), self._job_client.gate.pass_through)


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
