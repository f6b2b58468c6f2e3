"""Fields that would not become one column each: numbers that are split over two, and names that share one."""

from collections.abc import Mapping

from dlt.common.configuration.container import Container
from dlt.common.schema import Schema

from loader.check import paste
from loader.check.asking import Asking
from loader.check.look import Look
from loader.check.paste import Code, literal
from loader.fields import Path, colliding, columns_of, new_names, split_numbers


def find_fields(asking: Asking, look: Look) -> None:
    """Find them in the rows as they are loaded."""
    rows = [row for page in look.pages for row in page.rows]
    with Container().injectable_context(asking.capabilities):
        names = Schema("check").naming.normalize_path
    own = {column[0] for column in split_numbers(rows, names) if len(column) == 1}
    if split := sorted(own - {names(name) for name in paste.typed_columns(asking.chosen)}):
        asking.find(
            "number_split",
            f"{', '.join(split)}: a whole number in some rows and not in others, two types to dlt. The loader "
            "keeps one column; this line says which from the beginning.",
            paste.columns(asking.chosen, {name: {"data_type": "double"} for name in split}),
        )
    columns = columns_of(rows, names)
    if shared := colliding(columns):
        renamed = new_names(columns, names)
        fields = " and ".join(".".join(path) for paths in shared.values() for path in sorted(paths))
        asking.find(
            "names_collide",
            f"{fields} become the same column. The loader keeps both, one under a name of its own; this line gives it "
            "a better one.",
            _renaming(renamed),
        )


def _renaming(renamed: Mapping[Path, str]) -> paste.Line | None:
    """Give the line that renames fields; None where they are not all in the row itself."""
    if any(len(path) > 1 for path in renamed):
        return None
    moved = ", ".join(f"{literal(f'{path[0]}_2')}: row.pop({literal(path[0])}, None)" for path in sorted(renamed))
    return {"processing_steps": [{"map": Code(f"lambda row: {{{moved}, **row}}")}]}
