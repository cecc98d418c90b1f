"""Names and messages of other people's tests where they are neither markup nor formulas.

Contributors write them: a name can hold a pipe, HTML, a terminal's escape sequences or a spreadsheet's
formula. The whole text is in report.json.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

NAME_CHARACTERS = 200

Cell = str | int | float | None

_FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet computes when it opens a file with a cell that begins so."""

_LONE_PIPE = re.compile(r"(?<!\\)((?:\\\\)*)\|")


def code_span(text: str, characters: int = NAME_CHARACTERS) -> str:
    """Return text as code within a line of Markdown; "" stays empty."""
    line = cut(one_line(text), characters)
    fence = "`" * (longest_fence(line) + 1)
    return f"{fence} {line} {fence}" if line else ""


def code_block(text: str) -> str:
    """Return text as code on lines of its own."""
    lines = "\n".join(printable(line.expandtabs()) for line in text.split("\n"))
    fence = "`" * max(3, longest_fence(lines) + 1)
    return f"{fence}text\n{lines}\n{fence}"


def longest_fence(text: str) -> int:
    """Return how many backticks follow one another at most."""
    return max(map(len, re.findall("`+", text)), default=0)


def one_line(text: str) -> str:
    """Return what shows of a text, on one line."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Drop what does not show: control characters, and those that turn the direction of text."""
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def cut(text: str, characters: int) -> str:
    """Return at most this many characters of a text; an ellipsis stands for the rest."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """Yield the lines of a table as CSV (RFC 4180, but they end with a newline).

    A text that a spreadsheet would compute gets an apostrophe in front, as OWASP recommends.
    """
    for row in chain([header], rows):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(
            [_literal(cell) if isinstance(cell, str) else cell for cell in row]
        )
        yield line.getvalue()


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return a table as GitHub's Markdown; texts stand as code, where nothing is rendered or notified."""
    lines = [header, ["---"] * len(header), *([_markdown(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _literal(text: str) -> str:
    line = one_line(text)
    return f"'{line}" if line.startswith(_FORMULA) else line


def _markdown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}"
    # An odd number of backslashes keeps a pipe from ending the cell, for every reader of tables.
    return _LONE_PIPE.sub(r"\1\\|", code_span(cell)) if isinstance(cell, str) else str(cell or "")
