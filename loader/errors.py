"""Whose fault it is: each class says who has to do something about it.

    LoaderError
    |-- RequestError       the caller's: the request makes no sense
    |-- SettingsError      whoever set this up: a variable, the key, source_config.py
    |-- ApiError           the API's: it failed after its retries, refused, or answers nonsense
    |-- DestinationError   the destination's: BigQuery or the bucket failed
    `-- BusyError          nobody's: another run, or an abandoned one, is in the way

Anything else that is raised is a defect of this program.
"""

from typing import ClassVar


class LoaderError(Exception):
    """An error whose message says what happened, what was found and what to do."""

    type: ClassVar[str]
    """The name of it in an answer's `error.type`."""
    http_status: ClassVar[int]
    """The status code that an answer with it has."""


class RequestError(LoaderError):
    """The request makes no sense; nothing was called."""

    type = "request"
    http_status = 400


class MethodError(RequestError):
    """The request has a method that means nothing here."""

    http_status = 405


class SettingsError(LoaderError):
    """A variable, the key or source_config.py is wrong."""

    type = "settings"
    http_status = 500


class ApiError(LoaderError):
    """The API failed after its retries, refused, or answers nonsense."""

    type = "api"
    http_status = 502


class DestinationError(LoaderError):
    """The destination failed, or did not answer in time."""

    type = "destination"
    http_status = 503


class BusyError(LoaderError):
    """Another run, or an abandoned one that still lives in this process, is in the way."""

    type = "busy"
    http_status = 503
