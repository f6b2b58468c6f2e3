"""The history of passes, in the table's own place: a row in `loader_passes` for each complete pass.

It is part of the package with the last rows of the pass, so it is there when they are.
"""

from collections.abc import Callable, Iterator
from typing import Any

import dlt
from dlt.common import json
from dlt.extract import DltResource

from loader.place import Completed

TABLE = "loader_passes"

COLUMNS: Any = {
    "resource": {"data_type": "text", "nullable": False},
    "started_at": {"data_type": "timestamp", "nullable": False},
    "completed_at": {"data_type": "timestamp", "nullable": False},
    "rows": {"data_type": "bigint", "nullable": False},
    "pages": {"data_type": "bigint", "nullable": False},
    "runs": {"data_type": "bigint", "nullable": False},
    "seconds": {"data_type": "double", "nullable": False},
    "verified": {"data_type": "bool"},
    "checks": {"data_type": "text", "nullable": False},
    "schema_changes": {"data_type": "text", "nullable": False},
}


def passes(
    resource: str,
    completed: Callable[[], Completed | None],
    schema_changes: list[dict[str, Any]],
    deleted: dict[str, int] | None = None,
) -> DltResource:
    """Give the dlt resource with the row of a pass, if it is complete by then.

    Args:
        resource: whose pass it is.
        completed: gives the pass, once all its rows were read.
        schema_changes: of the chunks before this one; those of this one are not known before it is normalized.
        deleted: counts of rows that are gone at the API; None where they are kept as they are, and there is no column.
    """

    def rows() -> Iterator[dict[str, Any]]:
        done = completed()
        if done is not None:
            yield {
                "resource": resource,
                "started_at": done.started_at,
                "completed_at": done.completed_at,
                "rows": done.rows,
                "pages": done.pages,
                "runs": done.runs,
                "seconds": done.seconds,
                "verified": done.verified,
                "checks": json.dumps(done.checks),
                "schema_changes": json.dumps(schema_changes),
                **({} if deleted is None else {"deleted": json.dumps(deleted)}),
            }

    return dlt.resource(rows, name=TABLE, write_disposition="append", columns=COLUMNS)
