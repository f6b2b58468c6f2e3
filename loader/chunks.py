"""Read a chunk, commit it, and go on while there is time."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import dlt
from dlt.common.pipeline import NormalizeInfo
from dlt.common.schema import Schema
from dlt.extract import DltSource

from loader import deleted
from loader.chunk import Bounds, Commit
from loader.column_watch import Columns
from loader.deadline import Deadline
from loader.destination import Destination
from loader.failures import destination_errors, explained
from loader.fields import with_own_names
from loader.history import TABLE, passes
from loader.lease import Lease
from loader.log import logger
from loader.place import Completed, Record, resource_state
from loader.reader import End, Reader, now
from loader.report import Report
from loader.session import Session
from loader.source import Plan, build
from loader.verdict import advice

WORTH_SECONDS = 1.0
"""Least time for which it is worth to begin another chunk."""

NOT_FINISHED = "all pages are read, but what is left to do after them did not fit; the next run goes on with that"
"""Why a run pauses that has only marks to set, and to commit that the pass is complete."""

NOT_FOLDED = "the staged rows are not all in their table yet; the next run goes on with that"
"""Why a run pauses that has nothing to read."""

DIED_WITH = "commit_seconds_left"
"""What a run notes in its lease when it begins a commit: if it dies in it, the next one keeps back more."""

LAST_COMMIT = "commit"
"""What it notes there when a commit has ended: the last one of a run can't tell of itself in what it commits."""


class Chunks:
    """The chunk loop of one run."""

    def __init__(
        self,
        chosen: Plan,
        destination: Destination,
        pipeline: dlt.Pipeline,
        session: Session,
        lease: Lease,
        report: Report,
        progress: Callable[[Report], None],
    ) -> None:
        self._chosen = chosen
        self._destination = destination
        self._pipeline = pipeline
        self._session = session
        self._lease = lease
        self._report = report
        self._progress = progress
        self._deadline: Deadline = session.deadline
        self._box_seconds = self._deadline.left()
        self._folder = Path(pipeline.pipelines_dir)
        self._columns = Columns(chosen, destination, pipeline)
        kept = lease.inherited.get(LAST_COMMIT)
        self._last_commit = Commit(**kept) if kept else None

    def load(self, record: Record) -> None:
        """Read and commit chunks until the pass is complete, the time is up, or a page fails for good.

        Raises:
            ApiError: a page failed for good; those before it are committed.
            SettingsError: a resource that must be read in one run did not fit in it.
            DestinationError: it failed, or was too slow.
        """
        assert record.current is not None  # noqa: S101 - a run begins with a pass
        if record.current.finished:
            self._finish(record)
            return
        if not self._report.pass_is_kept:
            with destination_errors():
                self._destination.begin(self._pipeline)
        if not self._folded(if_due=True):
            self._report.passed(record.current, None)
            return
        while True:
            self._report.phase = "reading"
            reader = self._read(record)
            if reader.pages_read == 0 and reader.end is not End.OF_PASS:
                self._commit_beginning(reader)
                self._stop(reader)
                return
            record = self._commit(reader)
            self._report.chunks += 1
            if reader.completed:
                self._complete(reader.completed)
                return
            if reader.end is End.OF_PASS:
                self._finish(record)
                return
            if not self._folded(if_due=True) or not self._goes_on(reader, record):
                self._stop(reader)
                return

    def _folded(self, *, if_due: bool) -> bool:
        """Fold what is staged, as far as the time goes; pause the run if something is left."""
        self._report.phase = "folding the staged rows into their table"
        with destination_errors():
            is_done, commits = self._destination.fold(self._pipeline, if_due=if_due)
        self._report.folded += commits
        if not is_done:
            self._pause(NOT_FOLDED)
        return is_done

    def _finish(self, record: Record) -> None:
        """Fold what a pass has staged, and then commit that it is complete."""
        assert record.current is not None  # noqa: S101 - a run begins with a pass
        self._report.passed(record.current, None)
        if not self._folded(if_due=False):
            return
        if not self._has_time(record):
            self._pause(NOT_FINISHED)
            return
        with destination_errors():
            left = self._columns.left()
        self._report.schema_changes += [change for change in left if change not in self._report.schema_changes]
        marked = self._marked(record)
        if marked is None or not self._has_time(record):
            self._pause(NOT_FINISHED)
            return
        completed = record.current.folded(now(self._deadline.clock), columns=not left)
        self._report.phase = "committing to the destination"
        with self._pipeline.managed_state() as state:
            kept = resource_state(state, self._chosen.source_name, self._chosen.resource)
            replace(record, current=None, last=completed, marked=marked).write(kept)
        history = passes(self._chosen.resource, lambda: completed, self._report.schema_changes, self._report.deleted)
        self._destination.adapt(history)
        with explained(self._chosen):
            self._pipeline.extract(DltSource(Schema(self._chosen.source_name), self._chosen.source_name, [history]))
            self._pipeline.normalize(workers=1)
            self._pipeline.load(workers=1, raise_on_failed_jobs=True)
        self._report.passed(record.current, completed)
        self._complete(completed)

    def _pause(self, reason: str) -> None:
        self._report.status, self._report.reason = "paused", reason

    def _has_time(self, record: Record) -> bool:
        """Tell whether there is time to commit."""
        return self._bounds(record).read_until(0).left() > 0

    def _marked(self, record: Record) -> int | None:
        """Mark what is gone, if the pass has seen everything; give how many rows bear a mark; None: out of time."""
        current = record.current
        assert current is not None  # noqa: S101 - a run begins with a pass
        assert current.finished is not None  # noqa: S101 - all its pages are read
        saw_everything = (
            current.finished.verified is True
            and (current.sweep or not self._chosen.is_incremental)
            and not self._chosen.is_part
        )
        if not self._chosen.marks or current.since is None or not saw_everything:
            return record.marked
        self._report.phase = "marking rows that are gone"
        with destination_errors():
            marks = self._destination.marks(self._pipeline, self._chosen.resource, current)
            found = marks.find()
            counts = deleted.counts(found, record.marked, accepted=current.accept_deletes)
            if counts["held_back"]:
                logger.warning(
                    "%s: %d of %d rows are gone at the API, more than a tenth at once, so none of them is marked. "
                    'Look at the API; if that is right, run with "accept_deletes".',
                    self._report.resource,
                    found.gone,
                    found.living,
                )
            elif found.gone:
                is_done, commits = marks.set()
                self._report.folded += commits
                if not is_done:
                    return None
        self._report.deleted = counts
        return found.marked_before + counts["marked"]

    def _complete(self, completed: Completed) -> None:
        self._report.status = "complete"
        for line in advice(completed.checks):
            logger.warning("%s: not verified: %s", self._report.resource, line)
        self._destination.tidy(self._chosen.source_name)

    def _read(self, record: Record) -> Reader:
        bounds = self._bounds(record)
        reader = Reader(
            record,
            self._session,
            bounds,
            lambda: folder_bytes(self._folder),
            self._page_read,
            may_pause=self._chosen.may_pause,
            is_first=self._report.chunks == 0,
        )
        source = build(self._chosen, self._session, reader)
        history = passes(self._chosen.resource, lambda: reader.completed, self._report.schema_changes)
        main = source.resources[self._chosen.resource]
        reader.folds = self._destination.folds(main) or self._chosen.marks or self._columns.are_split()
        main.add_map(with_own_names)
        # one that is no longer configured would hold on: dlt keeps it with the table
        main.apply_hints(schema_contract=main.schema_contract or "evolve")
        self._destination.adapt(main, marks=self._chosen.marks)
        self._destination.adapt(history)
        source.resources.add(history)
        with explained(self._chosen):
            self._pipeline.extract(source)
        return reader

    def _page_read(self, rows: int) -> None:
        self._report.rows_read += rows
        self._report.pages_read += 1
        self._progress(self._report)

    def _bounds(self, record: Record) -> Bounds:
        return Bounds(
            deadline=self._deadline,
            box_seconds=self._box_seconds,
            last_commit=self._last_commit or record.commit,
            least_reserve=2 * float(self._lease.inherited.get(DIED_WITH, 0.0)),
            chunk_seconds=self._destination.chunk_seconds(self._chosen.siblings),
            chunk_bytes=self._destination.chunk_bytes,
        )

    def _commit(self, reader: Reader) -> Record:
        self._report.phase = "committing to the destination"
        clock, size = self._deadline.clock, folder_bytes(self._folder)
        began = clock.monotonic()
        self._lease.note(**{DIED_WITH: self._deadline.left()})
        if reader.current.since is not None:
            with destination_errors():
                self._destination.note_seen(reader.current)
        with explained(self._chosen):
            normalized = self._columns.normalize(reader)
            self._pipeline.load(workers=1, raise_on_failed_jobs=True)
        commit = self._last_commit = Commit(clock.monotonic() - began, size)
        self._lease.note(**{LAST_COMMIT: asdict(commit)})
        self._tell(reader, rows_of(normalized, self._pipeline.default_schema), commit)
        return replace(reader.record, commit=commit)

    def _commit_beginning(self, reader: Reader) -> None:
        """Commit that a pass has begun, if time is left for it: so a later run can be told to go on with it."""
        if self._has_time(reader.record) and reader.failure is None and not self._report.pass_is_kept:
            self._commit(reader)

    def _tell(self, reader: Reader, rows: int, commit: Commit) -> None:
        """Take the chunk into the report, now that it is committed."""
        report = self._report
        report.rows += rows
        report.pages += reader.pages_read
        report.pass_is_kept = True
        report.schema_changes += self._columns.told()
        report.passed(reader.current, reader.completed)
        logger.info(
            "%s: chunk %d committed: %d rows, %d pages; read in %.1f s, %d requests so far, %d of them retries; "
            "committed in %.1f s; next place: %s.",
            report.resource,
            report.chunks + 1,
            rows,
            reader.pages_read,
            reader.seconds,
            self._session.requests,
            self._session.retries,
            commit.seconds,
            report.place or "none, the pass is read",
        )

    def _goes_on(self, reader: Reader, record: Record) -> bool:
        """Tell whether there is time for another chunk."""
        if reader.end is End.FAILED or reader.wake_at is not None:
            return False
        left = self._bounds(record).read_until(0).left()
        return left >= max(WORTH_SECONDS, 2 * reader.page_seconds)

    def _stop(self, reader: Reader) -> None:
        """End the run before the pass does."""
        self._report.passed(reader.current, None)
        if reader.failure is not None:
            raise reader.failure
        self._report.wake_at = reader.wake_at
        if self._report.chunks == 0:
            self._pause(f"not one page fitted into this run: {reader.reason}")
        else:
            self._pause(reader.reason or "the time was up")


def rows_of(normalized: NormalizeInfo, schema: Schema) -> int:
    """Count the rows of a package: those of its resource's tables, not of tables made of their lists."""
    return sum(
        count
        for table, count in normalized.row_counts.items()
        if not table.startswith(schema._dlt_tables_prefix)  # noqa: SLF001 - see docs/dlt.md
        and table != TABLE
        and "parent" not in schema.tables.get(table, {})
    )


def folder_bytes(folder: Path | str) -> int:
    """Give the size of all files in a folder, in bytes."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += folder_bytes(entry.path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size
    return total
