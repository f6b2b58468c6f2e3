"""Fields that would not become one column each: numbers that are split over two, and names that share one."""

from collections.abc import Mapping

from loader.check import paste
from loader.check.asking import Asking
from loader.check.look import Look
from loader.check.paste import Code, literal
from loader.fields import OWN_NAMES, Names, Path, colliding, columns_of, new_names, split_numbers


def renamed_fields(asking: Asking, look: Look, names: Names) -> dict[Path, str]:
    """Give the names of their own that the loader gives to fields which would share a column."""
    received = {name for page in look.pages for row in asking.received(page) if isinstance(row, dict) for name in row}
    # where an API does not send one, a destination has added it
    ours = [(name,) for name in OWN_NAMES if name not in received]
    return new_names(columns_of(look.rows, names), names, {(name,) for name in asking.key}, ours)


def find_fields(asking: Asking, look: Look, names: Names) -> None:
    """Find them in the rows as they are loaded.

    Args:
        asking: about the resource.
        look: at its rows.
        names: of the destination.
    """
    own = {column[0] for column in split_numbers(look.rows, names) if len(column) == 1}
    if split := sorted(own - {names(name) for name in paste.typed_columns(asking.chosen)}):
        asking.find(
            "number_split",
            f"{', '.join(split)}: a whole number in some rows and not in others, two types to dlt. The loader keeps "
            "one column; this line says which from the beginning.",
            paste.columns(asking.chosen, {name: {"data_type": "double"} for name in split}),
        )
    if renamed := renamed_fields(asking, look, names):
        shared = {path for paths in colliding(columns_of(look.rows, names)).values() for path in paths}
        fields = " and ".join(".".join(path) for path in sorted(shared | renamed.keys()))
        given = ", ".join(f"{'.'.join(path)} as {name}" for path, name in sorted(renamed.items()))
        asking.find(
            "names_collide",
            f"{fields} would share a column, with each other or with what dlt and the loader add. The loader keeps "
            f"all, {given}; this line gives another name.",
            _renaming(asking, renamed),
        )


def _renaming(asking: Asking, renamed: Mapping[Path, str]) -> paste.Line | None:
    """Give the line that renames fields; None where they are deeper in the row, or other steps stand there."""
    if any(len(path) > 1 for path in renamed) or paste.has_steps(asking.chosen):
        return None
    others = {path[0]: f"{path[0].lstrip('_')}_2" for path in sorted(renamed)}
    moved = ", ".join(f"{literal(other)}: row.pop({literal(name)}, None)" for name, other in others.items())
    return {"processing_steps": [{"map": Code(f"lambda row: {{{moved}, **row}}")}]}
