"""Reads the command in a comment. Pure.

A comment is Markdown, and a command is a line that a reader sees as a line of text: what stands in a quote
(also in one that goes on without its `>`), in a list, in code or in HTML is about a command, and is not one.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import groupby

from markdown_it import MarkdownIt
from markdown_it.token import Token

MAX_CHARACTERS = 10_000
"""A longer comment commands nothing: the worst of 65,000 took 5 s to read, of 10,000 about 0.1 s."""

COMMANDS = ("retest", "run", "ok-to-test")

_ANY = re.compile(r"/([a-z][a-z-]*)(?:\s.*)?", re.DOTALL)
_MENTION = re.compile(r"/(retest|run|ok-to-test)\b")
_COMMAND = re.compile(r"/(retest|run|ok-to-test)(?:\s+(.*))?", re.DOTALL)


def command(body: str) -> tuple[str, list[str]] | None:
    """Return the first command and its words, None if there is none."""
    if len(body) > MAX_CHARACTERS or not _MENTION.search(body):
        return None
    found = next(filter(None, map(_COMMAND.fullmatch, _lines(body))), None)
    return (found[1], (found[2] or "").replace(",", " ").split()) if found else None


def unknown_command(body: str, others: Sequence[str]) -> str:
    """Return the command that somebody meant and we do not have, "" if there is none.

    It is close to one of ours, or all that the comment says, and not among the `others`: those of other bots.
    """
    if len(body) > MAX_CHARACTERS or not re.search(r"^/[a-z]", body, re.MULTILINE):
        return ""
    lines = list(_lines(body))
    for found in filter(None, map(_ANY.fullmatch, lines)):
        word = found[1]
        is_meant = len(lines) == 1 or get_close_matches(word, COMMANDS, n=1, cutoff=0.7)
        if is_meant and word not in (*COMMANDS, *others):
            return word
    return ""


def _lines(body: str) -> Iterator[str]:
    """Yield the lines of plain text that stand in nothing else."""
    # Made anew each time: parsers compile their rules on first use, and threads would share a half-made one.
    for token in MarkdownIt("commonmark").enable("strikethrough").parse(body):
        if token.type == "inline" and token.level == 1:
            yield from _plain(token.children or ())


def _plain(parts: Sequence[Token]) -> Iterator[str]:
    for is_break, group in groupby(parts, key=lambda part: part.type in ("softbreak", "hardbreak")):
        line = list(group)
        if not is_break and [(part.type, part.level) for part in line] == [("text", 0)]:
            yield line[0].content
