"""The environment, checked: one frozen object, and all that is wrong named at once."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from loader import redaction
from loader.errors import SettingsError

DESTINATIONS = ("filesystem", "bigquery")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MAX_TIMEOUT_SECONDS = 7 * 24 * 3600
"""A Cloud Run job may run for a week; a function for an hour."""

_SECRET = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")
_QUEUE = re.compile(r"projects/[^/]+/locations/[^/]+/queues/[^/]+")
_DATASET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,1000}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; field for field the table in the README."""

    api_key: str | None = field(default=None, repr=False)
    """The key itself, for local runs; wins over `api_key_secret`."""
    api_key_secret: str | None = None
    """Secret Manager version that holds the key, `projects/P/secrets/S/versions/V`."""
    base_url: str | None = None
    """Overrides the API's address."""
    destination: str = "filesystem"
    """Where rows go: `filesystem` or `bigquery`."""
    bucket_url: str = "./data"
    """Folder or `gs://...`, for `filesystem`."""
    dataset_name: str = "analytics"
    """BigQuery dataset, or folder in the bucket."""
    timeout_seconds: float = 540.0
    """What the platform gives one invocation, in seconds from the dispatch."""
    tasks_queue: str | None = None
    """Cloud Tasks queue through which a paused run continues itself."""
    tasks_service_account: str | None = None
    """Account whose OIDC token the task carries."""
    function_url: str | None = None
    """This function's own address: target and audience of the task."""
    log_level: str = "INFO"
    """Least severity that is logged."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; an empty variable is an unset one.

        Raises:
            SettingsError: one or more variables are wrong; the message names each of them.
        """
        settings, problems = read(environment)
        if problems:
            raise SettingsError("The settings are wrong. " + " ".join(problems))
        return settings

    @property
    def project(self) -> str | None:
        """The Google Cloud project, as far as another setting names it."""
        named = self.api_key_secret or self.tasks_queue
        return named.split("/")[1] if named else None


def read(environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Read what is right of the settings, and say what is wrong: a sentence per variable."""
    values: dict[str, str | float] = {}
    problems: list[str] = []
    for name, check in _CHECKS.items():
        text = environment.get(name, "")
        if not text:
            continue
        if name == "API_KEY":
            # source_config.py may show it in what it raises, before anybody has asked dlt for it
            redaction.remember([text])
        try:
            values[name.lower()] = check(text)
        except ValueError as error:
            # a key is never shown, not even one that was put where the name of its secret belongs
            shown = "" if name.startswith("API_KEY") and not text.startswith("projects/") else f", but is {text!r}"
            problems.append(f"{name} must be {error}{shown}.")
    settings = Settings(**values)  # type: ignore[arg-type]
    if settings.tasks_queue:
        problems += [
            f"{name} is missing: it is needed with TASKS_QUEUE."
            for name in ("TASKS_SERVICE_ACCOUNT", "FUNCTION_URL")
            if not environment.get(name)
        ]
    return settings, problems


def _text(text: str) -> str:
    return text


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return check


def _like(pattern: re.Pattern[str], form: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(form)
        return text

    return check


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address that begins with http:// or https://")
    return text


def _bucket(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if (separator and (scheme not in ("gs", "file") or not rest)) or set(text) & set("?*[]%#"):
        raise ValueError("a folder or gs://BUCKET, without any of ? * [ ] % #")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
        raise ValueError(f"a number of seconds from 1 to {MAX_TIMEOUT_SECONDS}")
    return seconds


_CHECKS: dict[str, Callable[[str], str | float]] = {
    "API_KEY": _text,
    "API_KEY_SECRET": _like(_SECRET, "projects/P/secrets/S/versions/V"),
    "BASE_URL": _address,
    "DESTINATION": _one_of(DESTINATIONS),
    "BUCKET_URL": _bucket,
    "DATASET_NAME": _like(_DATASET, "letters, digits and underscores, not beginning with a digit"),
    "TIMEOUT_SECONDS": _seconds,
    "TASKS_QUEUE": _like(_QUEUE, "projects/P/locations/L/queues/Q"),
    "TASKS_SERVICE_ACCOUNT": _like(re.compile(r"[^@\s]+@[^@\s]+"), "the e-mail address of a service account"),
    "FUNCTION_URL": _address,
    "LOG_LEVEL": _one_of(LOG_LEVELS),
}
