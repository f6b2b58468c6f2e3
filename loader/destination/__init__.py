"""Where rows go, and what differs between the places: BigQuery, and a bucket or folder."""

from collections.abc import Sequence
from typing import Any, Protocol

import dlt
from dlt.common.schema import Schema
from dlt.extract import DltResource

from loader.deadline import Deadline
from loader.deleted import Found
from loader.lease import Gate, LeaseStore
from loader.place import Pass
from loader.settings import Settings


class Marks(Protocol):
    """The marks of a resource's rows that are gone at the API, after one pass (see `loader.deleted`)."""

    def find(self) -> Found:
        """Count what the resource's table holds."""

    def set(self) -> tuple[bool, int]:
        """Mark what is gone, as far as the time goes; give whether all of it is marked, and in how many commits."""


class Destination(Protocol):
    """What a run needs of a destination."""

    chunk_bytes: int
    """How much of the working folder one chunk may fill."""

    def factory(self) -> Any:
        """Give dlt's destination; whatever it commits passes the gate."""

    def try_out(self) -> None:
        """Look whether it could be written to, without writing; raises where it could not."""

    def adapt(self, resource: DltResource, *, marks: bool = False) -> None:
        """Give a resource the hints that this destination needs.

        Args:
            resource: of dlt.
            marks: whether its rows are marked when they are gone at the API.
        """

    def folds(self, resource: DltResource) -> bool:
        """Tell whether the rows of a resource are there for readers only after `fold`; its passes end with one."""

    def begin(self, pipeline: dlt.Pipeline) -> None:
        """Get ready for a new pass."""

    def fold(self, pipeline: dlt.Pipeline, *, if_due: bool) -> tuple[bool, int]:
        """Bring committed rows to where they are read, as far as the time goes.

        Args:
            pipeline: of the resource.
            if_due: only if so much is waiting that it is better done before more comes.

        Returns:
            Whether nothing of it is left to do, and how many commits it took.
        """

    def fits(self, pipeline: dlt.Pipeline, table: str, column: str, data_type: str) -> bool:
        """Tell whether a column can become of a type (dlt's word) without a value in it being changed."""

    def filled(self, pipeline: dlt.Pipeline, table: str, columns: Sequence[str]) -> set[str]:
        """Give those of some columns in which any row of a table has a value."""

    def note_seen(self, current: Pass) -> None:
        """Note which rows were read since the last time, where their table can't tell; before they are committed."""

    def marks(self, pipeline: dlt.Pipeline, resource: str, current: Pass) -> Marks:
        """Give the marks of a resource, after a pass that has seen everything."""

    def chunk_seconds(self, resources: int) -> float:
        """Give how long one chunk may be read, in seconds, in a source of so many resources."""

    def lease(self, resource: str) -> LeaseStore:
        """Give the lease of a resource."""

    def tidy(self, pipeline_name: str) -> None:
        """Delete what nobody needs any more, now that a pass of this pipeline is complete; raises nothing."""


def open_destination(settings: Settings, gate: Gate, deadline: Deadline) -> Destination:
    """Give the destination that the settings name.

    Args:
        settings: the environment, checked.
        gate: what every commit passes.
        deadline: when each wait for the destination must have ended, where it can be bounded.
    """
    if settings.destination == "filesystem":
        # heavy, and only one of them is needed
        from loader.destination.bucket import Bucket  # noqa: PLC0415

        return Bucket(settings.bucket_url, settings.dataset_name, gate, deadline)
    from loader.destination.bigquery import BigQuery  # noqa: PLC0415

    return BigQuery(settings.dataset_name, gate, deadline)


def client_of(factory: Any, dataset_name: str, schema_name: str) -> Any:
    """Give the client of a destination (see `Destination.factory`) for the tables of a schema, without a pipeline."""
    config = factory.spec()._bind_dataset_name(dataset_name)  # noqa: SLF001 - see docs/dlt.md
    return factory.client(Schema(schema_name), config)
