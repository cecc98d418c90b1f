"""Engines started as the documents say report cached tokens, without which nothing can be compared."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

FLAGS = {"vllm serve": "--enable-prompt-tokens-details", "sglang.launch_server": "--enable-cache-report"}

LAUNCH = re.compile(
    r"(?<!`)\b(vllm serve|sglang\.launch_server)\b([^`]*?)(?=\n\s*\n|```|\n(?:kvsync|python) |\Z)"
)
"""A launch line with all that follows it; in running text commands stand between backticks."""


def lacking(text: str) -> list[str]:
    """Return the launch lines without the flag of their engine."""
    return [match.group() for match in LAUNCH.finditer(text) if FLAGS[match[1]] not in match[2]]


def launch_lines(text: str) -> int:
    """Count them."""
    return len(LAUNCH.findall(text))


def test_launch_lines_have_the_flag_of_their_engine() -> None:
    """In all documents and manifests."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("infra/**/*.y*ml")]
    texts = {page: page.read_text() for page in pages}

    assert sum(map(launch_lines, texts.values())) >= 2
    assert {page: missing for page, text in texts.items() if (missing := lacking(text))} == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```sh\nvllm serve M --port 1 \\\n  --x\n```\n--enable-prompt-tokens-details", 1),
        ("```sh\nvllm serve M --port 1 \\\n  --enable-prompt-tokens-details\n```", 0),
        ("python -m sglang.launch_server --model-path M\nkvsync tail --enable-cache-report", 1),
        ("`vllm serve --api-key`", 0),
    ],
    ids=["without", "with", "of another command", "in running text"],
)
def test_a_line_without_it_is_found(text: str, wrong: int) -> None:
    """A flag further down belongs to something else."""
    assert len(lacking(text)) == wrong
