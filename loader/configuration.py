"""source_config.py and the environment, read and checked together."""

import importlib
import os
from types import ModuleType

import dlt

from loader import dlt_settings, mistakes
from loader.errors import SettingsError
from loader.secret import Placeholders, Watch, answering
from loader.settings import Settings, read
from loader.source import Description, describe


def source_config() -> ModuleType:
    """Import source_config.py.

    Raises:
        SettingsError: it can't be imported.
    """
    try:
        # what is asked for at its top would else be unknown to the redaction when the file fails below that
        with answering(Watch()):
            return importlib.import_module("source_config")
    except Exception as error:
        raise mistakes.in_the_import(error) from error


def description_without_key(asked: Placeholders | None = None) -> Description:
    """Describe the source with placeholders for what is missing: for where only names are wanted.

    Args:
        asked: takes note of what source_config.py asks for.
    """
    module = source_config()
    with dlt_settings.imports:
        return describe(module, asked or Placeholders())


def settings_for_a_run(asked: Placeholders) -> Settings:
    """Read the settings, and make sure that there is a key; all that is wrong is named at once.

    Args:
        asked: what source_config.py asks for, when it is described.

    Raises:
        SettingsError: one or more variables are wrong or missing.
    """
    settings, problems = read(os.environ)
    problems += [
        f"{name.upper()} is missing: source_config.py asks dlt.config for it." for name in sorted(asked.missing)
    ]
    if not os.environ.get("API_KEY_SECRET"):
        problems += [
            f"{name.upper()} is missing: set it, or API_KEY_SECRET to a Secret Manager version that holds it."
            for name in dict.fromkeys(asked.asked)
            if not dlt.secrets.get(name)
        ]
    if problems:
        raise SettingsError("The settings are wrong. " + " ".join(problems))
    return settings
