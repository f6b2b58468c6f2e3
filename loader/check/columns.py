"""Fields that would not become one column each: numbers that are split over two, and names that share one."""

from collections.abc import Mapping

from loader.check import paste
from loader.check.asking import Asking
from loader.check.look import Look
from loader.check.paste import Code, literal
from loader.fields import Names, Path, colliding, columns_of, new_names, split_numbers


def renamed_fields(asking: Asking, look: Look, names: Names) -> dict[Path, str]:
    """Give the names of their own that the loader gives to fields which would share a column."""
    return new_names(columns_of(look.rows, names), names, {(name,) for name in asking.key})


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
        shared = colliding(columns_of(look.rows, names)).values()
        fields = " and ".join(".".join(path) for paths in shared for path in sorted(paths))
        given = ", ".join(f"{'.'.join(path)} as {name}" for path, name in sorted(renamed.items()))
        asking.find(
            "names_collide",
            f"{fields} would share a column. The loader keeps both, {given}; this line gives another name.",
            _renaming(asking, renamed),
        )


def _renaming(asking: Asking, renamed: Mapping[Path, str]) -> paste.Line | None:
    """Give the line that renames fields; None where they are deeper in the row, or other steps stand there."""
    if any(len(path) > 1 for path in renamed) or paste.has_steps(asking.chosen):
        return None
    moved = ", ".join(f"{literal(f'{path[0]}_2')}: row.pop({literal(path[0])}, None)" for path in sorted(renamed))
    return {"processing_steps": [{"map": Code(f"lambda row: {{{moved}, **row}}")}]}
