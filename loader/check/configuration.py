"""The part of a look that needs no key and asks nobody: source_config.py by itself; `deploy.sh` begins with it."""

from loader.check.paste import is_keyless
from loader.errors import SettingsError
from loader.source import Description, plan


def look_at_configuration(description: Description) -> None:
    """Look whether every resource can be loaded as it is configured.

    Raises:
        SettingsError: one or more can't; the message names each of them.
    """
    plans = [plan(description, resource) for resource in description.resources()]
    if keyless := [each.resource for each in plans if is_keyless(each)]:
        raise SettingsError(
            f'{", ".join(keyless)} in source_config.py: rows are to be merged (write_disposition "merge"), and no '
            "primary_key tells which are the same, so each pass would add all of them again. Give it a primary_key: "
            "`python main.py --check` finds one."
        )
