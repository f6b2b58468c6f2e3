"""A bucket or a local folder: one Delta table per resource."""

import json as plain_json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dlt
import pyarrow.compute as pc
from dlt.common import json
from dlt.extract import DltResource
from dlt.extract.exceptions import DataItemRequiredForDynamicTableHints

from loader import deleted, memory
from loader.columns import splits
from loader.deadline import Deadline
from loader.destination import client_of
from loader.destination import unchanged as unchanged_rows
from loader.destination.bucket_dlt import DeltaBucket, DeltaClient
from loader.destination.bucket_lease import NumberedFiles
from loader.destination.delta import column_of
from loader.destination.fold import Fold, Pace
from loader.destination.marks import Marks, TableMarks
from loader.destination.seen import Seen
from loader.destination.stage import with_key
from loader.destination.trial import try_bucket, try_folder
from loader.errors import SettingsError
from loader.exactness import MOST_EXACT
from loader.lease import Gate, LeaseStore
from loader.log import logger
from loader.place import Pass

MEBIBYTE = 1 << 20

TIDY_SECONDS = 5.0
"""With less left before the deadline, no old files are looked for."""

LOADS_KEPT_DAYS = 30
"""dlt writes a file for each load; older ones are deleted."""


class Bucket:
    """A folder or `gs://...`, with one Delta table per resource in the folder of the data set."""

    chunk_bytes = 15 * MEBIBYTE
    """The whole process then peaks at about 400 MiB, files of the working folder (they are memory) counted."""

    def __init__(self, url: str, dataset_name: str, gate: Gate, deadline: Deadline) -> None:
        memory.apply()
        self._url = url
        self._dataset_name = dataset_name
        self._gate = gate
        self._deadline = deadline
        self._client: DeltaClient | None = None
        self._folded: list[Fold] = []
        self._seen: Seen | None = None
        self._unchanged: unchanged_rows.Unchanged | None = None

    def factory(self) -> DeltaBucket:
        """Give dlt's filesystem destination, whose commits pass the gate."""
        factory = DeltaBucket(bucket_url=self._url)
        factory.gate = self._gate
        return factory

    def try_out(self) -> None:
        """Look whether the folder or bucket could be written to.

        Raises:
            DestinationError: it could not.
        """
        client = self._client_of("check")
        if client.is_local_filesystem:
            try_folder(Path(client.dataset_path))
        else:
            try_bucket(client.fs_client, client.bucket_path.split("/", 1)[0])

    def adapt(self, resource: DltResource, *, marks: bool = False) -> None:
        """Let the resource be a Delta table whose lists are JSON text in their row.

        Raises:
            SettingsError: its rows are to be merged, and nothing tells them apart.
        """
        if marks:
            deleted.hint(resource)
            self._seen = self._seen or self._keys_seen(resource.name)
        key = primary_key_of(resource) if self.folds(resource) else None
        if key == ():
            raise SettingsError(
                f'{resource.name} has write_disposition "merge" and no primary_key, so nothing tells which rows are '
                'the same. Give it a primary_key in source_config.py, or write_disposition "append" or "replace".'
            )
        resource.apply_hints(table_format="delta")
        if key and self._client:
            resource.add_map(with_key(resource.name, key, self._client.schema.naming.normalize_identifier))
        if key and (unchanged := self._unchanged_rows(resource, key)):
            resource.apply_hints(columns={unchanged_rows.COLUMN: {"data_type": "binary"}})
            resource.add_filter(unchanged.is_news)
        resource.add_map(with_lists_as_text)

    def folds(self, resource: DltResource) -> bool:
        """Tell whether the resource is merged: its rows are staged, and then folded into their table."""
        disposition: Any = resource.write_disposition
        return bool((disposition["disposition"] if isinstance(disposition, dict) else disposition) == "merge")

    def _unchanged_rows(self, resource: DltResource, key: tuple[str, ...]) -> unchanged_rows.Unchanged | None:
        """Give what knows the rows of the resource's table, scanned once in a run; None where it is several tables."""
        if self._client is None or callable(resource.table_name):
            return None
        if self._unchanged is None:
            name = self._client.schema.naming.normalize_table_identifier(resource.table_name)
            columns = self._client.schema.get_table_columns(name) if name in self._client.schema.tables else ()
            seen = self._seen.add if self._seen else lambda _: None
            split = [split.variant for split in splits(self._client.schema) if split.table == name]
            contract = str(resource.schema_contract)
            self._unchanged = unchanged_rows.Unchanged(
                self._client.place(name),
                self._client.staged(name),
                key,
                columns,
                seen,
                split,
                contract if "discard_value" in contract else "",
            )
        return self._unchanged

    def begin(self, pipeline: dlt.Pipeline) -> None:
        """Forget staged rows whose table is gone."""
        client: Any = pipeline.destination_client()
        for fold in client.folds():
            fold.begin()

    def fold(self, pipeline: dlt.Pipeline, *, if_due: bool) -> tuple[bool, int]:
        """Fold what is staged."""
        pace = Pace(self._deadline)
        client: Any = pipeline.destination_client()
        self._client = client
        folds = [fold for fold in client.folds() if not if_due or fold.is_due()]
        is_done = all(fold.run(pace) for fold in folds)
        self._folded += folds if pace.commits else []
        return is_done, pace.commits

    def fits(self, pipeline: dlt.Pipeline, table: str, column: str, data_type: str) -> bool:
        """Look through the column, in the table and where its rows are staged."""
        if data_type != "double":
            return True
        client: Any = pipeline.destination_client()
        most = [
            abs(bound)
            for place in (client.place(table), client.staged(table))
            for values in column_of(place, column)
            for bound in pc.min_max(values).as_py().values()
            if bound is not None
        ]
        return max(most, default=0) <= MOST_EXACT

    def filled(self, pipeline: dlt.Pipeline, table: str, columns: Sequence[str]) -> set[str]:
        """Look through the columns."""
        client: Any = pipeline.destination_client()
        place = client.place(table)
        return {
            column for column in columns if any(len(values) > values.null_count for values in column_of(place, column))
        }

    def note_seen(self, current: Pass) -> None:
        """Note the keys of the rows that were read: unchanged ones are not staged."""
        if self._seen:
            self._gate.pass_through()
            self._seen.note(current.started_at)

    def marks(self, pipeline: dlt.Pipeline, resource: str, current: Pass) -> TableMarks:
        """Give the marks of the resource's table."""
        self._seen = self._seen or self._keys_seen(resource)
        client: Any = pipeline.destination_client()
        seen = self._seen.sorted_keys(current.started_at)
        return TableMarks(
            [Marks(fold.target, fold.columns, seen, current, fold.gate) for fold in client.folds()],
            Pace(self._deadline),
        )

    def chunk_seconds(self, resources: int) -> float:
        """Give 300 s: what a kill may cost."""
        del resources
        return 300.0

    def lease(self, resource: str) -> LeaseStore:
        """Give the lease of a resource: numbered files beside the data sets."""
        return NumberedFiles(*self._beside("_loader_leases", resource))

    def _keys_seen(self, resource: str) -> Seen:
        """Give the keys that passes of a resource have seen: files beside the data sets, too."""
        return Seen(*self._beside("_loader_seen", resource))

    def _beside(self, kind: str, resource: str) -> tuple[Any, str]:
        """Give the file system, and a folder in it that belongs to a resource and is no data set."""
        client = self._client_of(resource)
        return client.fs_client, client.pathlib.join(client.bucket_path, kind, self._dataset_name, resource)

    def _client_of(self, name: str) -> DeltaClient:
        client: DeltaClient = client_of(self.factory(), self._dataset_name, name)
        return client

    def tidy(self, pipeline_name: str) -> None:
        """Delete keys noted as seen and, if time is left, files out of use for a week and dlt's notes of old loads."""
        client = self._client
        assert client is not None  # noqa: S101 - a pass that is complete was folded
        month_ago = self._deadline.clock.time() - LOADS_KEPT_DAYS * 86_400.0
        if self._seen:
            self._seen.clear()
        chores = [fold.vacuum for fold in self._folded]
        chores += [client.compact_history, lambda: client.delete_loads(pipeline_name, month_ago)]
        for chore in chores:
            if self._deadline.left() < TIDY_SECONDS:
                return
            try:
                chore()
            except Exception as error:  # noqa: BLE001 - a run is none the worse for it
                logger.warning(
                    "%s: old files could not be deleted: %s. The next run tries again.", pipeline_name, error
                )


def primary_key_of(resource: DltResource) -> tuple[str, ...] | None:
    """Give the fields that tell the rows of a resource apart; None if only its rows can say."""
    try:
        columns = resource.compute_table_schema()["columns"]
    except DataItemRequiredForDynamicTableHints:
        return None
    return tuple(name for name, column in columns.items() if column.get("primary_key"))


def with_lists_as_text(row: Any) -> Any:
    """Give the row with each list, at any depth of its objects, as JSON text; dlt would make tables of them."""
    if not isinstance(row, dict):
        return row
    open_objects = [row]
    while open_objects:
        for name, value in (here := open_objects.pop()).items():
            # this is asked of each value, and `isinstance` takes twice as long
            kind = value.__class__
            if kind is list:
                here[name] = as_text(value)
            elif kind is dict:
                open_objects.append(value)
    return row


def as_text(value: Any) -> str:
    """Give JSON text, also of integers beyond 64 bits."""
    try:
        return json.dumps(value)
    except TypeError:
        return plain_json.dumps(value, ensure_ascii=False, separators=(",", ":"))
