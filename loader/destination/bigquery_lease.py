"""The lease in BigQuery: a table with an expiration, made through the API, where a second making answers 409.

(A `CREATE TABLE` in a query may fail in other ways than that; and a table without columns can be made twice.)
"""

import json
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery

from loader.destination.bigquery_client import NEVER, BoundedClient, refusals
from loader.errors import BusyError


class ExpiringTable:
    """The lease of one resource: who has made its table holds it, until the table expires.

    An expired table takes with it what was written in it, so a second one, which stays, keeps the notes.
    """

    def __init__(self, client: BoundedClient, dataset: str, resource: str) -> None:
        """Prepare the lease; nothing is asked before it is taken.

        Args:
            client: to ask with.
            dataset: full name of the data set in which the tables are.
            resource: whose lease it is.
        """
        self._client = client
        self._lock = threading.Lock()
        self._lease = f"{dataset}._loader_lease_{resource}"
        self._notes = f"{dataset}._loader_notes_{resource}"
        self._holder = ""
        self._note: dict[str, Any] = {}

    @property
    def number(self) -> str:
        """The holder's name for itself, or empty."""
        return self._holder

    def take(self, expires_at: float) -> Mapping[str, Any] | None:
        """Make the table."""
        holder = uuid.uuid4().hex
        with refusals(), self._lock:
            if not self._make(self._lease, holder, expires_at) and self._description_of(self._lease) != holder:
                self._client.close()  # type: ignore[no-untyped-call]
                return None
            self._holder = holder
            self._note = json.loads(self._description_of(self._notes) or "{}")
        return {name: value for name, value in self._note.items() if name != SCRIPT}

    def renew(self, expires_at: float, note: Mapping[str, Any]) -> None:
        """Let the table expire later; keep the note if it is a new one."""
        with refusals(), self._lock:
            table = self._found(self._lease)
            if table is None or table.description != self._holder:
                raise BusyError("The lease is lost: another run may have taken it. This one commits nothing more.")
            table.expires = moment(expires_at)
            self._client.update_table(table, ["expires"], retry=NEVER)
            self._write_note({**note, **self._script()})

    def is_mine(self) -> bool:
        """Tell whether the table is there, and by us."""
        with refusals():
            return self._description_of(self._lease) == self._holder

    def release(self) -> None:
        """Drop the table, if it is still ours, and the note but for a script that may still run."""
        with refusals(), self._lock:
            if self._description_of(self._lease) == self._holder:
                self._write_note(self._script())
                self._client.delete_table(self._lease, retry=NEVER, not_found_ok=True)
        self._client.close()  # type: ignore[no-untyped-call]

    @property
    def script(self) -> str:
        """The id of the last job that changed the tables; it may still run, though who began it is dead."""
        return str(self._note.get(SCRIPT, ""))

    def note_script(self, job_id: str) -> None:
        """Note the job that is about to change the tables."""
        with refusals(), self._lock:
            self._write_note({**self._note, SCRIPT: job_id})

    def _script(self) -> dict[str, Any]:
        return {SCRIPT: self.script} if self.script else {}

    def _make(self, name: str, description: str, expires_at: float | None = None) -> bool:
        table = bigquery.Table(name, schema=[bigquery.SchemaField("nothing", "STRING")])
        table.description = description
        table.expires = None if expires_at is None else moment(expires_at)
        try:
            self._client.create_table(table, retry=NEVER)
        except Conflict:
            return False
        return True

    def _write_note(self, note: dict[str, Any]) -> None:
        if note == self._note:
            return
        self._note, text = note, json.dumps(note)
        table = bigquery.Table(self._notes)
        table.description = text
        try:
            self._client.update_table(table, ["description"], retry=NEVER)
        except NotFound:
            self._make(self._notes, text)

    def _description_of(self, name: str) -> str:
        table = self._found(name)
        return (table.description if table else "") or ""

    def _found(self, name: str) -> bigquery.Table | None:
        try:
            return self._client.get_table(name, retry=NEVER)
        except NotFound:
            return None


SCRIPT = "script"
"""Under this name, in a note: a job that changes the tables."""


def moment(seconds: float) -> datetime:
    """Give a moment, from seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
