"""Whose fault it is when dlt fails: one of our errors, said so that a person can act on it."""

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dlt
import requests
from dlt.common.schema.exceptions import DataValidationError
from dlt.pipeline.exceptions import PipelineStepFailed

from loader import reader
from loader.errors import ApiError, DestinationError, LoaderError, SettingsError
from loader.exchange import TimeIsUpError
from loader.reader import NonsenseError
from loader.source import Plan

LOOK = "Look at the destination, and at what this function's service account may do in it."

SHOW_VALUES = ("DeltaError", "BadRequest")
"""Errors of Delta's and BigQuery's, by name because their libraries are heavy, that may repeat values of rows, too."""

REFUSED = (
    "It refused: grant this function's service account roles/storage.objectUser and roles/storage.legacyBucketReader "
    "on the bucket."
)


@contextmanager
def explained(chosen: Plan) -> Iterator[None]:
    """Turn what dlt raises in reading or committing into one of our errors.

    Raises:
        LoaderError: whose class says whose fault it is.
    """
    try:
        yield
    except PipelineStepFailed as failed:
        causes = list(causes_of(failed))
        for cause in causes:
            if isinstance(cause, LoaderError):
                raise cause from failed
            if isinstance(cause, TimeIsUpError):
                raise does_not_fit(chosen, cause) from failed
            if failed.step == "extract" and isinstance(cause, requests.RequestException | NonsenseError):
                # a page of a dependent resource, which is read beside the reader
                raise reader.explained(cause, chosen.retries, templates=chosen.templates) from failed
            if isinstance(cause, DataValidationError):
                raise SettingsError(
                    f"The rows do not fit the schema_contract of {chosen.resource}: {_broken(cause)}. "
                    "Nothing of this chunk is loaded, and the place stays where it is. In source_config.py, let it in "
                    f'with "evolve" for {cause.schema_entity} in the schema_contract, for one run; or keep it out with '
                    '"discard_value".'
                ) from failed
        if failed.step in {"load", "sync"}:
            raise destination_failed(causes[-1]) from failed
        if failed.step == "normalize" and not _is_ours(causes[-1]):
            raise ApiError(
                f"Rows of {chosen.resource} can't be brought into a table: {type(causes[-1]).__name__}. "
                "A key that is missing or of another type than before does that. "
                "Nothing of this chunk is loaded. Look at the rows, and give the field a type in `columns` of the "
                "resource in source_config.py."
            ) from failed
        if failed.step == "extract":
            raise SettingsError(
                f"The code that source_config.py adds to {chosen.resource} failed: {type(causes[-1]).__name__}. "
                "Look at its processing_steps, response_actions and incremental settings."
            ) from failed
        raise


@contextmanager
def destination_errors() -> Iterator[None]:
    """Turn what is raised by a destination into one of our errors.

    Raises:
        DestinationError: it failed.
    """
    try:
        yield
    except LoaderError:
        raise
    except Exception as error:
        causes = list(causes_of(error))
        for cause in causes:
            if isinstance(cause, LoaderError):
                raise cause from error
        raise destination_failed(causes[-1]) from error


def destination_failed(cause: BaseException) -> DestinationError:
    """Say that the destination failed, and with what."""
    # the text of these repeats the value that they could not take, and no row belongs into a log
    shows_values = isinstance(cause, ValueError | TypeError | LookupError) or type(cause).__name__ in SHOW_VALUES
    first_line = str(cause).strip().split("\n", 1)[0][:300]
    is_refused = isinstance(cause, PermissionError) or "Forbidden" in first_line
    said = "" if shows_values else f": {first_line}"
    return DestinationError(
        f"The destination failed with {type(cause).__name__}{said}. The place stays where it is, and the next "
        f"run goes on there. {REFUSED if is_refused else LOOK}"
    )


def _is_ours(error: BaseException) -> bool:
    """Tell whether an error comes from our own code, and not through it from dlt's: then it is no fault of the rows."""
    ours, theirs = (str(Path(inspect.getfile(module)).parent) for module in (reader, dlt))
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return [file.startswith(ours) for file in files if file.startswith((ours, theirs))][-1:] == [True]


def _broken(contract: DataValidationError) -> str:
    """Say which contract is broken, and where; dlt's own text shows the keys of rows."""
    column = f", column {contract.column_name}" if contract.column_name else ""
    return f"table {contract.table_name}{column}: {contract.schema_entity} is {contract.contract_mode}"


def silent() -> DestinationError:
    """Say that the destination did not answer in time."""
    return DestinationError("The destination did not answer in time. Try again; if it lasts, look at the destination.")


def does_not_fit(chosen: Plan, cause: TimeIsUpError) -> SettingsError:
    """Say that a resource that must be read in one run did not fit in it."""
    return SettingsError(
        f"{chosen.resource} must be read in one run, because {chosen.why_whole}, and it did not fit: {cause.reason}. "
        "Nothing was loaded. Raise TIMEOUT_SECONDS (and the function's own timeout), or change it in source_config.py."
    )


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what is behind it, the root last; dlt keeps some causes in attributes."""
    seen: set[int] = set()
    here: BaseException | None = error
    while here is not None and id(here) not in seen:
        seen.add(id(here))
        yield here
        inner = getattr(here, "exception", None) or getattr(here, "client_exception", None)
        here = (
            inner if isinstance(inner, BaseException) and id(inner) not in seen else here.__cause__ or here.__context__
        )
