"""The key, as a dlt configuration provider: it asks Secret Manager when `dlt.secrets[...]` is read.

It is fetched in each invocation, so that a rotated key is seen, and lives in memory only.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.providers.provider import ConfigProvider
from dlt.common.configuration.specs import PluggableRunContext
from dlt.common.configuration.specs.base_configuration import is_secret_hint

from loader import redaction
from loader.deadline import Deadline
from loader.errors import SettingsError

KEY_NAME = "api_key"
"""The name under which a payload that is the key itself answers: `dlt.secrets["api_key"]`."""

FETCH_SECONDS = 30.0
"""Longest wait for Secret Manager, retries included; less where the deadline is nearer."""


PLACEHOLDER = "placeholder"
"""What stands for a secret where none is needed."""


class Secrets(Protocol):
    """Where the provider looks a secret up."""

    asked: list[str]
    """The names that were asked for."""
    watched: list[str]
    """Names with sections, like `sources.crm.token`, which dlt's other providers answer."""

    def look_up(self, name: str, *, is_secret: bool) -> str | None:
        """Give the value of that name, or None to leave it to dlt's other providers."""


@dataclass(slots=True)
class Placeholders:
    """Answers any secret: for where only the names of resources are wanted, and no key is needed."""

    asked: list[str] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Names in `dlt.config` that were found to have no value; they get a placeholder as well."""

    def look_up(self, name: str, *, is_secret: bool) -> str | None:
        """Give a placeholder."""
        if is_secret:
            self.asked.append(name)
        return PLACEHOLDER if is_secret or name in self.missing else None


@dataclass(slots=True)
class Watch:
    """Answers nothing: for where dlt's other providers do, and it is only to be known what they were asked."""

    asked: list[str] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)

    def look_up(self, name: str, *, is_secret: bool) -> str | None:
        """Leave it to them."""
        if is_secret:
            self.asked.append(name)
        return None


@dataclass(slots=True)
class SecretManager:
    """Answers from one Secret Manager version, which is fetched once, when first asked for a name."""

    version: str | None
    """`projects/P/secrets/S/versions/V`, or None: dlt's other providers answer everything."""
    deadline: Deadline
    asked: list[str] = field(default_factory=list)
    watched: list[str] = field(default_factory=list)
    _values: Mapping[str, str] | None = None

    def look_up(self, name: str, *, is_secret: bool) -> str | None:
        """Give the secret; dlt's own variable of that name wins.

        Raises:
            SettingsError: the version can't be read.
        """
        if not is_secret:
            return None
        self.asked.append(name)
        if self.version is None or os.environ.get(name.upper()):
            return None
        if self._values is None:
            self._values = parse(fetch(self.version, self.deadline), self.version)
            redaction.remember(self._values.values())
        return self._values.get(name)


_current: ContextVar[Secrets | None] = ContextVar("secrets", default=None)


@contextmanager
def answering(secrets: Secrets) -> Iterator[None]:
    """Let `dlt.secrets[...]` ask these secrets first, in this thread and inside this block only."""
    providers = Container()[PluggableRunContext].providers
    if SecretProvider.NAME not in providers:
        # in front of the environment, where an empty variable would count as a key
        providers.providers.insert(0, SecretProvider())
        _leave_numbers_as_text()
    token = _current.set(secrets)
    try:
        yield
    finally:
        _current.reset(token)
        # what dlt's other providers have answered, the user's variables or secrets.toml
        answers: list[Any] = [dlt.secrets.get(name) for name in {*secrets.asked, *secrets.watched}]
        redaction.remember(str(answer) for answer in answers if answer)


def _leave_numbers_as_text() -> None:
    """Let `dlt.secrets[...]` take no secret for a number: a key like 007 would reach the API as 7."""
    accessor: Any = type(dlt.secrets)
    cast = accessor.__getitem__  # see docs/dlt.md

    def uncast(secrets: Any, name: str) -> Any:
        value = cast(secrets, name)
        return secrets.get(name) if isinstance(value, int | float | list) else value

    accessor.__getitem__ = uncast


class SecretProvider(ConfigProvider):
    """dlt's side of it: answers secrets without sections, from whatever `answering` has set."""

    NAME = "Secret Manager"

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any | None, str]:
        """Give the secret of that name, if it is asked for inside `answering`."""
        del pipeline_name
        secrets = _current.get()
        if secrets is None:
            return None, key
        if sections:
            # dlt's other providers answer that
            if is_secret_hint(hint):
                secrets.watched.append(".".join([*sections, key]))
            return None, key
        return secrets.look_up(key, is_secret=is_secret_hint(hint)), key

    @property
    def supports_secrets(self) -> bool:
        """Secrets are all that it has."""
        return True

    @property
    def supports_sections(self) -> bool:
        """A secret has a plain name."""
        return False

    @property
    def name(self) -> str:
        """What dlt calls it in its messages."""
        return self.NAME


def parse(payload: bytes, version: str) -> dict[str, str]:
    """Give the secrets that a payload holds, by name.

    One trailing newline is dropped. A JSON object holds several secrets; anything else is the key itself.

    Raises:
        SettingsError: the payload is empty or is no text.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise SettingsError(
            f"The key in {version} is malformed: its payload is not UTF-8 text. Add a version that holds the key."
        ) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingsError(
            f"The key in {version} is malformed: its payload is empty. Add a version that holds the key itself."
        )
    try:
        names = json.loads(text)
    except ValueError:
        return {KEY_NAME: text}
    if not isinstance(names, dict):
        return {KEY_NAME: text}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in names.items()}


def fetch(version: str, deadline: Deadline) -> bytes:
    """Fetch the payload of a version.

    Raises:
        SettingsError: it is denied, disabled, missing or can't be reached; the message says which.
    """
    # heavy: a second and a half, so only where a key is fetched
    from google.api_core import exceptions  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
    from google.cloud.secretmanager import SecretManagerServiceClient  # noqa: PLC0415

    emulator = os.environ.get("SECRET_MANAGER_EMULATOR_HOST")
    seconds = min(FETCH_SECONDS, deadline.left())
    try:
        client = SecretManagerServiceClient(
            transport="rest", client_options={"api_endpoint": emulator} if emulator else None
        )
        answer = client.access_secret_version(name=version, timeout=seconds)
    except exceptions.Forbidden:
        raise SettingsError(
            f"The key can't be read: access to {version} is denied. "
            "Grant this function's service account roles/secretmanager.secretAccessor on the secret."
        ) from None
    except exceptions.NotFound:
        raise SettingsError(
            f"The key can't be read: {version} is missing. Create the secret, add a version, or correct API_KEY_SECRET."
        ) from None
    except exceptions.BadRequest as error:
        raise SettingsError(
            f"The key can't be read: {version} is disabled or destroyed ({error.message}). "
            "Enable it, or point API_KEY_SECRET at an enabled version."
        ) from None
    except (exceptions.GoogleAPIError, GoogleAuthError, OSError) as error:
        raise SettingsError(
            f"The key can't be read: Secret Manager did not answer for {version} within {seconds:.0f} s "
            f"({type(error).__name__}: {error}). Try again; if it lasts, look at this function's service account."
        ) from error
    _check_crc(answer, version)
    return bytes(answer.payload.data)


def _check_crc(answer: Any, version: str) -> None:
    import google_crc32c  # noqa: PLC0415 - comes with the client, so it is loaded with it

    if answer.payload.data_crc32c and google_crc32c.value(answer.payload.data) != answer.payload.data_crc32c:
        raise SettingsError(
            f"The key in {version} is malformed: its checksum does not fit its payload. Run again; "
            "if it stays so, add the key as a new version."
        )
