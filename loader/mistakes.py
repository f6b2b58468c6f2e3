"""What is wrong in source_config.py, in one sentence, with its line where there is one."""

import ast
import re
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from graphlib import CycleError
from pathlib import Path
from types import ModuleType

from dlt.common.exceptions import DictValidationException
from dlt.common.typing import is_typeddict
from dlt.sources.rest_api import typing as rest_api

from loader.errors import SettingsError

FILE = "source_config.py"

MAX_LINES = 3
"""What is mentioned in more lines than this is told without them."""


def in_the_import(error: Exception) -> SettingsError:
    """Tell why source_config.py can't be imported."""
    lines, text = _raised_at(error), str(error)
    if isinstance(error, SyntaxError) and _is_the_file(error.filename):
        lines, text = [error.lineno or 1], error.msg
    return SettingsError(f"{FILE} can't be imported{_at(lines)}: {type(error).__name__}: {text}. Correct the file.")


def in_what_it_says(error: Exception, module: ModuleType) -> SettingsError:
    """Tell what is wrong in what source_config.py says: it raised this itself, or dlt did, that was given it."""
    lines = _raised_at(error)
    text = f"{type(error).__name__}: {error}" if lines else _told_by_dlt(error)
    lines = lines or _mentioned_at(text, module)
    return SettingsError(f"{FILE} is wrong{_at(lines)}: {' '.join(text.split()).rstrip('.')}. Correct the file.")


def _at(lines: list[int]) -> str:
    if not lines or len(lines) > MAX_LINES:
        return ""
    return f" in line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"


def _is_the_file(path: str | None) -> bool:
    return path is not None and Path(path).name == FILE


def _raised_at(error: Exception) -> list[int]:
    """Give the line that was being executed; none if the error came from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno for frame in frames if _is_the_file(frame.filename) and frame.lineno][-1:]


def _told_by_dlt(error: Exception) -> str:
    match error:
        case DictValidationException():
            return _misfit(_most_fitting(error))
        case CycleError():
            return f"resources depend on each other in a circle: {' -> '.join(map(repr, reversed(error.args[1])))}"
        case KeyError():
            return f"{error} is missing"
        case AttributeError(obj=ModuleType()):
            return f"it has no {error.name}"
        case AttributeError() if "'NoneType'" in str(error):
            return "source_config() gives nothing: its `return` is missing"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _most_fitting(error: DictValidationException) -> DictValidationException:
    """Give the complaint that is meant: dlt lists one for each type that a value could have been."""
    while error.nested_exceptions:
        # deepest first; a wrong `type` explains whatever else is wrong; the shortest names the fewest fields
        error = min(
            error.nested_exceptions, key=lambda each: (-each.path.count("/"), each.field != "type", len(each.msg))
        )
    return error


def _misfit(error: DictValidationException) -> str:
    place = error.path.removeprefix(".").strip("/") or "the configuration"
    found = re.search(r"unexpected fields `\{(.*)\}`", error.msg)
    if not found:
        return f"{place}: {error.msg}"
    guesses = [guess for name in _quoted(found[1]) for guess in get_close_matches(name, _fields(), 1)]
    return f"{place} has no field {found[1]}" + (f" ({', '.join(guesses)}?)" if guesses else "")


def _fields() -> set[str]:
    """Give the names of all fields that a configuration may have somewhere."""
    kinds = [kind for kind in vars(rest_api).values() if is_typeddict(kind)]
    return {name for kind in kinds for name in kind.__annotations__}


def _quoted(text: str) -> list[str]:
    return re.findall(r"['`]([^'`]+)['`]", text)


def _mentioned_at(text: str, module: ModuleType) -> list[int]:
    """Give the lines of the file that hold, as a text of its own, something that the message quotes."""
    if not module.__dict__.get("__file__") or " is missing" in text or "missing required" in text:
        return []
    # what follows is what would be right
    said, _, _ = text.partition(" is not one of")
    words = {word.rpartition("=")[2] for word in _quoted(said)}
    return sorted({node.lineno for node in _texts(Path(str(module.__file__))) if node.value in words})


def _texts(file: Path) -> Iterator[ast.Constant]:
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant))
