"""One run of one resource: the lease, the key, the committed record, and the chunks between them."""

import tempfile
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import dlt
from dlt.common.storages.load_package import create_load_id

from loader import deleted, dlt_settings, incremental, log
from loader.chunks import Chunks
from loader.deadline import Deadline
from loader.destination import Destination, open_destination
from loader.errors import SettingsError
from loader.failures import destination_errors
from loader.lease import Gate, Lease
from loader.log import logger
from loader.place import STATE_KEY, Pass, Record, resource_state, shown
from loader.reader import now
from loader.report import Report
from loader.secret import SecretManager
from loader.settings import Settings
from loader.source import Plan, describe, open_session, plan


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for."""

    resource: str
    restart: bool = False
    """Forget place and incremental cursors, and read everything again."""
    sweep: bool = False
    """Read everything beside the incremental cursor, or go on with that."""
    accept_deletes: bool = False
    """Let any number of rows be marked as deleted after the pass."""
    pass_started_at: str | None = None
    """Go on with this pass only."""

    def going_on(self) -> "Order":
        """Give the order that goes on with the pass, once that is kept."""
        return replace(self, restart=False, sweep=False)

    def begins_with(self) -> dict[str, bool]:
        """Give the fields of the request that tell how a pass begins."""
        fields = {"restart": self.restart, "sweep": self.sweep, "accept_deletes": self.accept_deletes}
        return {name: True for name, is_set in fields.items() if is_set}


class Run:
    """A run. It works in one thread; its report may be looked at from another."""

    def __init__(
        self,
        order: Order,
        settings: Settings,
        module: ModuleType,
        deadline: Deadline,
        progress: Callable[[Report], None] = lambda _: None,
    ) -> None:
        self.report = Report(order.resource, begins_with=order.begins_with())
        self._order = order
        self._settings = settings
        self._module = module
        self._deadline = deadline
        self._progress = progress
        self._gate = Gate()
        self._lease: Lease | None = None

    def work(self) -> Report:
        """Do it all; what was committed stays committed, whatever is raised.

        Raises:
            LoaderError: whose class says whose fault it is.
        """
        began = self._deadline.clock.monotonic()
        try:
            dlt_settings.apply(self._settings.destination)
            self.report.phase = "opening the destination"
            with destination_errors():
                destination = open_destination(self._settings, self._gate, self._deadline)
                self._lease = Lease.take(destination.lease(self._order.resource), self._deadline)
            if self._lease is None:
                self._skip("another run is loading this resource")
            else:
                self._work_with(self._lease, destination)
        finally:
            self.report.seconds = self._deadline.clock.monotonic() - began
        return self.report

    def abandon(self) -> None:
        """Let the run never commit again, wherever it hangs."""
        self._gate.shut()
        if self._lease:
            self._lease.abandon()

    def _work_with(self, lease: Lease, destination: Destination) -> None:
        self._gate.guard(lease.check)
        self.report.lease = lease.number
        try:
            # the lease may have come when the run was abandoned already
            self._gate.pass_through()
            with tempfile.TemporaryDirectory(prefix="loader-", ignore_cleanup_errors=True) as folder:
                self._load(lease, destination, folder)
        finally:
            lease.release()

    def _load(self, lease: Lease, destination: Destination, folder: str) -> None:
        """Read and commit, with an empty folder to work in."""
        self.report.phase = "fetching the key"
        description = describe(self._module, SecretManager(self._settings.api_key_secret, self._deadline))
        chosen = plan(description, self._order.resource)
        if self._order.sweep and chosen.appends:
            raise SettingsError(
                f"A sweep of {chosen.resource} would load each of its rows once more, because its "
                'write_disposition is "append". Nothing was read. Take it out of SWEEPS in source_config.py, or '
                'set write_disposition to "merge" and give it a primary_key.'
            )
        self.report.phase = "reading what is committed"
        with destination_errors():
            pipeline = dlt.pipeline(
                chosen.source_name,
                pipelines_dir=folder,
                destination=destination.factory(),
                dataset_name=self._settings.dataset_name,
            )
            pipeline.sync_destination()
        record = self._begin(pipeline, chosen)
        if record:
            with open_session(description, self._deadline) as session:
                Chunks(chosen, destination, pipeline, session, lease, self.report, self._progress).load(record)

    def _begin(self, pipeline: dlt.Pipeline, chosen: Plan) -> Record | None:
        """Begin the run on the committed record; None if there is nothing to do for it."""
        with pipeline.managed_state() as state:
            kept = resource_state(state, chosen.source_name, chosen.resource)
            record = Record.of(kept) or self._unknown(kept, chosen)
            started_at = record.current.started_at if record.current else None
            if self._order.pass_started_at not in (None, started_at):
                self._skip("the pass that it was to go on with is over")
                self.report.pass_is_over = True
                return None
            current = self._current(record, kept, chosen)
            if current and not chosen.marks:
                # what this run reads is noted nowhere, so nobody can tell afterwards what the pass has not seen
                current = replace(current, since=None)
            new = Pass(
                now(self._deadline.clock),
                sweep=self._order.sweep,
                aside=kept.pop(incremental.DLT_KEY, {}) if self._order.sweep and not current else {},
                since=create_load_id() if chosen.marks else None,
            )
        self.report.pass_is_kept = current is not None
        self.report.deleted = deleted.nothing() if chosen.marks else None
        begun = replace(record, fingerprint=chosen.fingerprint, current=current).began(new)
        self._tell_beginning(chosen, begun)
        return begun.accepting_deletes() if self._order.accept_deletes else begun

    def _current(self, record: Record, kept: MutableMapping[str, Any], chosen: Plan) -> Pass | None:
        """Give the paused pass, if the run goes on with it; else clear up after it."""
        current = record.current
        if self._order.restart:
            kept.pop(incremental.DLT_KEY, None)
            return None
        if current and record.fingerprint != chosen.fingerprint:
            logger.warning(
                "%s: its configuration has changed since the pass of %s began; a new pass begins.",
                chosen.resource,
                current.started_at,
            )
            if current.sweep:
                incremental.restore(kept, current.aside)
            return None
        # the cursor of a pass that is paused has not moved, so nothing is lost with it
        return current if current and (current.sweep or not self._order.sweep) else None

    def _tell_beginning(self, chosen: Plan, record: Record) -> None:
        assert record.current is not None  # noqa: S101 - it has just begun
        log.label(**{"pass": record.current.started_at})
        self.report.waiting_since = record.last.completed_at if record.last else record.current.started_at
        if not self.report.pass_is_kept:
            what = "a sweep" if record.current.sweep else "a new pass"
            what += "" if chosen.may_pause else f", in this one run, because {chosen.why_whole}"
        elif record.current.finished:
            what = f"all pages of the pass of {record.current.started_at} are read, and the rest is folded"
        else:
            what = f"the pass of {record.current.started_at} goes on at {shown(record.current.place)}"
        log.tell("%s: a run begins: %s.", chosen.resource, what)

    def _unknown(self, kept: Mapping[str, Any], chosen: Plan) -> Record:
        """Give the record of a resource that has none, or one of another version of this program."""
        if STATE_KEY in kept:
            logger.warning(
                "%s: its place was kept by another version of this program; a new pass begins.", chosen.resource
            )
        return Record(chosen.fingerprint)

    def _skip(self, reason: str) -> None:
        self.report.status, self.report.reason = "skipped", reason
