"""Pages of documentation, taken apart: their blocks, and the commands that they name."""

import re

_PARTS = re.compile(r"^```(\w*)\n(.*?)^```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:\./deploy\.sh|make|gcloud|(?:\.venv/bin/)?python|main\.py) ")
"""How a command within a sentence begins."""


def blocks(page: str, language: str) -> list[str]:
    """Give the blocks of a page in a language, as they stand there; those in none for an empty one."""
    return [text for found, text, _ in _PARTS.findall(page) if text and found == language]


def commands(page: str) -> list[str]:
    """Give the commands of a page, those within sentences too, in its order; each is one line without a comment."""
    found = []
    for language, block, span in _PARTS.findall(page):
        if language == "sh":
            without_documents = re.sub(r"(<<'END')\n.*?^END$", r"\1", block, flags=re.MULTILINE | re.DOTALL)
            found += re.sub(r"\\\n *| +#.*", "", without_documents).splitlines()
        elif _COMMAND.match(span):
            found.append(span)
    return found


def words(screen: str) -> str:
    """Give the words of a screen, whatever its width."""
    return " ".join(re.sub("[─━│┃┏┓┗┛┡┩└┘┴┬╇┳┼]", " ", screen).split())
