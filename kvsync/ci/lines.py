"""Where in the text of a TOML file a value stands: tomllib does not say. Pure.

It reads as much of TOML as it takes to find the line of a key, and is used only to say where a problem is: a
value that is not found is looked for at the table around it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[(\[?)\s*({_DOTTED})\s*\]{{1,2}}")
_ENTRY = re.compile(rf"\s*({_DOTTED})\s*=(.*)")
_TEXT = re.compile(r""""(?:\\.|[^"\\\n])*"|'[^'\n]*'|#.*""")


def line_of(text: str, where: Sequence[str | int]) -> int:
    """Return the number of the line of a value, or else of what is around it; 0 for none."""
    keys = tuple(str(part) for part in where)
    found: dict[tuple[str, ...], int] = {}
    for number, name in _names(text):
        for length in range(1, len(name) + 1):
            found.setdefault(name[:length], number)
    return next((found[keys[:length]] for length in range(len(keys), 0, -1) if keys[:length] in found), 0)


def _names(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each table and key with its whole name and the number of its line."""
    table: tuple[str, ...] = ()
    depth, closing = 0, ""
    counts: Counter[tuple[str, ...]] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        if closing:  # within a text of several lines
            closing = "" if closing in line else closing
        elif depth:  # within a list of several lines
            depth += _brackets(line)
        elif header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1]:  # one of several
                counts[table] += 1
                table = (*table, str(counts[table] - 1))
            yield number, table
        elif entry := _ENTRY.match(line):
            yield number, (*table, *_parts(entry[1]))
            value = entry[2].strip()
            opening = next((mark for mark in ('"""', "'''") if value.startswith(mark)), "")
            closing = opening if opening and opening not in value[3:] else ""
            depth = 0 if opening else max(0, _brackets(value))


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))


def _brackets(line: str) -> int:
    bare = _TEXT.sub("", line)
    return sum(bare.count(mark) for mark in "[{") - sum(bare.count(mark) for mark in "]}")
