"""What is committed: of each resource, as the destination has it. The API is not called, and no key is needed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlt.common.destination.client import WithStateSync
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.schema import Schema
from dlt.pipeline.state_sync import load_pipeline_state_from_destination

from loader import dlt_settings
from loader.clock import SystemClock
from loader.columns import is_data
from loader.deadline import Deadline
from loader.destination import Destination, client_of, open_destination
from loader.failures import destination_errors
from loader.fields import ADDED
from loader.lease import Gate
from loader.place import Record, resource_state, shown
from loader.settings import Settings
from loader.source import Description


@dataclass(frozen=True, slots=True)
class Committed:
    """What is committed of one resource."""

    record: Record | None
    schema: Schema | None
    """Of its tables, as dlt stores it beside them."""

    def columns(self) -> list[dict[str, Any]]:
        """Give its columns, without those that dlt and the loader add."""
        return [
            {
                "table": table["name"],
                "name": name,
                "data_type": column.get("data_type"),
                "nullable": column.get("nullable", True),
            }
            for table in (self.schema.data_tables(seen_data_only=True) if self.schema else ())
            if is_data(str(table["name"]))
            for name, column in table["columns"].items()
            if not name.startswith(ADDED)
        ]

    def answer(self) -> dict[str, Any]:
        """Give the fields of the answer."""
        record = self.record
        current, last = (record.current, record.last) if record else (None, None)
        seen = current or last
        done = None if current else last
        return {
            "status": "paused" if current else "complete" if last else "never",
            "place": shown(current.place) if current else None,
            "pass_started_at": seen.started_at if seen else None,
            "pass_rows": seen.rows if seen else None,
            "verified": done.verified if done else None,
            "checks": dict(done.checks) if done else None,
            "completed_at": last.completed_at if last else None,
        }


def status(description: Description, settings: Settings, named: Sequence[str] = ()) -> dict[str, Any]:
    """Give what is committed for each resource; of those that are named, and no others, with their columns.

    Raises:
        DestinationError: it could not be read.
    """
    dlt_settings.apply(settings.destination)
    with destination_errors():
        destination = open_destination(settings, Gate(), Deadline.of(settings.timeout_seconds, SystemClock()))
        resources = {
            name: _committed(description, destination, settings, name, with_columns=bool(named))
            for name in named or description.resources()
        }
    return {
        "source": description.name,
        "destination": settings.destination,
        "dataset": settings.dataset_name,
        "resources": {
            name: committed.answer() | ({"columns": committed.columns()} if named else {})
            for name, committed in resources.items()
        },
    }


def _committed(
    description: Description, destination: Destination, settings: Settings, resource: str, *, with_columns: bool
) -> Committed:
    name = f"{description.name}_{resource}"
    with client_of(destination.factory(), settings.dataset_name, name) as client:
        assert isinstance(client, WithStateSync)  # noqa: S101 - both destinations are
        try:
            state: Any = load_pipeline_state_from_destination(name, client)
        except DestinationUndefinedEntity:
            return Committed(None, None)
        stored = client.get_stored_schema(name) if with_columns else None
    schema = Schema.from_stored_schema(json.loads(stored.schema)) if stored else None
    return Committed(Record.of(resource_state(state or {}, name, resource)), schema)
