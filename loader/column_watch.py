"""The columns of a resource in one run: each field gets one, as far as that can be, and changes are told."""

from collections import defaultdict
from typing import Any

import dlt
from dlt.common.pipeline import NormalizeInfo
from dlt.common.schema import Schema
from dlt.common.storages import ParsedLoadJobFileName
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed

from loader.columns import in_a_line, is_data, splits, told_of_split
from loader.destination import Destination
from loader.failures import causes_of
from loader.log import logger
from loader.place import resource_state
from loader.reader import Reader
from loader.retyping import UnsettledError, Watch, watching
from loader.source import Plan


class Columns:
    """What a run knows of the columns of its resource."""

    def __init__(self, chosen: Plan, destination: Destination, pipeline: dlt.Pipeline) -> None:
        self._chosen = chosen
        self._destination = destination
        self._pipeline = pipeline
        self._watch = Watch(
            chosen.resource,
            lambda table, column, data_type: destination.fits(pipeline, table, column, data_type),
            chosen.key_names,
            chosen.moments,
        )

    def are_split(self) -> bool:
        """Tell whether a field may have two columns: whether it has is seen in the table, at the end of a pass."""
        return bool(self._pipeline.schemas and splits(self._pipeline.default_schema))

    def left(self) -> list[dict[str, Any]]:
        """Tell of each field that has values in two columns of its table, now that all is loaded."""
        schema = self._pipeline.default_schema
        variants = defaultdict(list)
        for split in splits(schema):
            variants[split.table].append(split.variant)
        filled = {table: self._destination.filled(self._pipeline, table, names) for table, names in variants.items()}
        return [
            told_of_split(split, schema, self._chosen.resource)
            for split in splits(schema)
            if split.variant in filled[split.table]
        ]

    def normalize(self, reader: Reader) -> NormalizeInfo:
        """Normalize the package that was read; where it splits a field, it does not complete the pass."""
        with watching(self._watch):
            try:
                return self._pipeline.normalize(workers=1)
            except PipelineStepFailed as failed:
                if not any(isinstance(cause, UnsettledError) for cause in causes_of(failed)):
                    raise
            self._leave_open(reader)
            return self._pipeline.normalize(workers=1)

    def told(self) -> list[dict[str, Any]]:
        """Tell, and log in one line, what the last package has changed, now that it is committed."""
        if self._watch.changes:
            logger.info("%s: columns: %s", self._chosen.resource, in_a_line(self._watch.changes))
        return self._watch.changes

    def _leave_open(self, reader: Reader) -> None:
        """Put the rows of the package into one that commits their place without completing the pass."""
        reader.leave_open()
        name, packages = self._chosen.source_name, self._pipeline._get_normalize_storage().extracted_packages  # noqa: SLF001 - see docs/dlt.md
        (old,) = packages.list_packages()
        with self._pipeline.managed_state() as state:
            reader.record.write(resource_state(state, name, self._chosen.resource))
        self._pipeline.extract(DltSource(Schema(name), name, []))
        (new,) = set(packages.list_packages()) - {old}
        for file in packages.list_new_jobs(old):
            if is_data(ParsedLoadJobFileName.parse(file).table_name):
                packages.import_job(new, packages.storage.make_full_path(file))
        packages.delete_package(old)
