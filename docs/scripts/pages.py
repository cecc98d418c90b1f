"""What the documents promise: where their links lead, and what their runnable blocks do and print.

A fence whose info string ends with `runnable` (```sh runnable, ```python runnable) holds commands that work
as they stand. All of a page's run in one shell, one after the other, as a reader would type them. A fence
marked `text output` holds lines that they print.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]


def pages() -> list[Path]:
    """Return the documents of the repository."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def script(text: str) -> str:
    """Return the runnable blocks of a page as one shell script; empty without any."""
    return "\n".join(_commands(block) for block in _fences(text) if block.info.endswith(" runnable"))


SERVES = re.compile(
    r"(kvsync (gateway|simulate|tail)|kvsync-ci serve|vllm serve|prefect worker start"
    r"|kubectl .*port-forward)\b"
)
"""Commands that run until someone stops them."""


def stuck(text: str) -> list[str]:
    """Return the commands after which a shell would not go on with what its block has next."""
    blocks = [block.content for block in _fences(text) if block.info.split(" ")[0] == "sh"]
    return [
        command
        for block in blocks
        for command in list(_typed(block))[:-1]
        if SERVES.match(re.sub(r"^(\w+=('[^']*'|\S+) )+", "", command))
        and "--help" not in command
        and not command.endswith("&")
    ]


def outputs(text: str) -> list[str]:
    """Return what the runnable blocks of a page are said to print."""
    return [block.content for block in _fences(text) if block.info == "text output"]


def messages(text: str) -> set[str]:
    """Return the fixed parts of the messages in the first column of a page's tables, `...` between them."""
    rows = (line.split("|")[1] for line in text.splitlines() if line.startswith("|"))
    quoted = (span for row in rows for span in re.findall(r"`([^`]+)`", row))
    return {part.strip() for message in quoted for part in message.split("...") if len(part.strip()) > 3}


def links(text: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    found = (token.attrs.get("href") or token.attrs.get("src") for token in _inline(text))
    return [str(each) for each in found if each]


def anchors(text: str) -> set[str]:
    """Return what a link into a page can name: its headings, as GitHub writes them."""
    tokens = MarkdownIt().enable("table").parse(text)
    titles = [
        tokens[at + 1].children or [] for at, token in enumerate(tokens) if token.type == "heading_open"
    ]
    return {_anchor("".join(part.content for part in title)) for title in titles}


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead to no file of the repository, or to no heading in one."""
    wrong = []
    for link in links(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if re.match(r"[a-z]+:", link):
            continue
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            wrong.append(link)
    return wrong


def _typed(block: str) -> Iterator[str]:
    """Yield the commands of a block, each whole, without comments."""
    typed = ""
    for line in block.replace("\\\n", "").splitlines():
        typed = f"{typed} {line}".strip()
        try:
            shlex.split(typed)
        except ValueError:  # a quotation that goes on in the next line
            continue
        if command := re.sub(r"\s+#.*$|^#.*$", "", typed):
            yield command
        typed = ""


def _commands(block: Token) -> str:
    if block.info.startswith("python"):
        return f"python - <<'END_OF_BLOCK'\n{block.content}END_OF_BLOCK\n"
    return block.content


def _fences(text: str) -> Sequence[Token]:
    return [token for token in MarkdownIt().parse(text) if token.type == "fence"]


def _inline(text: str) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse(text):
        yield from token.children or ()


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
