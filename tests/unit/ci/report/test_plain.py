"""Names and messages of strangers stay text in CSV and Markdown."""

import csv
import io

import pytest
from markdown_it import MarkdownIt

from kvsync.ci.report.plain import code_span, csv_lines, cut, markdown_table

HOSTILE = [
    "a | b",
    "a \\| b",
    "a \\\\| b",
    "`code` | ``",
    "<img src=x onerror=alert(1)>",
    "@everyone [link](http://x)",
    "two\nlines\r\n",
    "\x1b[31mred\u202e",
    "\ud800",
    "|",
    "\\",
    "",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_table_of_markdown_keeps_its_cells(text: str) -> None:
    """Whatever a cell holds, it is one, with nothing rendered in it."""
    tokens = MarkdownIt().enable("table").parse(markdown_table(("a", "b"), [(text, "end")]))
    cells = [tokens[i + 1].children or [] for i, token in enumerate(tokens) if token.type == "td_open"]

    assert [len(cell) for cell in cells] in ([1, 1], [0, 1])
    assert {part.type for cell in cells for part in cell} == {"code_inline"}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_csv_is_read_as_it_was_written(text: str) -> None:
    """A row is one line with as many fields, which can be encoded."""
    written = "".join(csv_lines(("a", "b", "c"), [(text, 1.5, None)]))

    assert len(written.encode().splitlines()) == 2
    assert [len(row) for row in csv.reader(io.StringIO(written))] == [3, 3]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\x00=1"], ids=ascii)
def test_a_spreadsheet_computes_nothing(text: str) -> None:
    """A text that looks like a formula gets an apostrophe; a number stays one."""
    (_, row) = csv.reader(csv_lines(("a", "b"), [(text, -1)]))

    assert row[0].startswith("'")
    assert row[1] == "-1"


def test_cut() -> None:
    """What is too long ends with an ellipsis, and is not longer than asked."""
    assert (cut("abcd", 4), cut("abcde", 4), code_span("abcde", 4)) == ("abcd", "abc…", "` abc… `")
