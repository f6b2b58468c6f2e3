"""docs/figures.md: each benchmark owns one section of it, between two markers, and leaves the others alone."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.function import ROOT

FIGURES = ROOT / "docs" / "figures.md"
OPENING = "# Figures\n\nWhat `make bench` measured; it writes this file anew, section by section.\n"


def write(section: str, text: str) -> None:
    """Put a text, in Markdown and with its own heading, into a section."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    block = f"{begin}\n{text.strip()}\n{end}"
    page = FIGURES.read_text() if FIGURES.exists() else OPENING
    if begin in page:
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, page, flags=re.DOTALL)
    else:
        page = f"{page}\n{block}\n"
    FIGURES.write_text(page)


def circumstances() -> str:
    """Tell when and on what it is measured."""
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Give a table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("--- |", "---|")
