"""What is said of a command that prepares, from the end of what it printed."""

import pytest

from kvsync.ci.stages.prepare import most_telling

PIP = """\
  error: subprocess-exited-with-error

  x Getting requirements to build editable did not run successfully.
  ╰─> [3 lines of output]
      error: Multiple top-level packages discovered in a flat-layout: ['shop', 'reports'].

      To avoid accidental inclusion of unwanted files or directories,
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: subprocess-exited-with-error

╰─> See above for output.

note: This error originates from a subprocess, and is likely not a problem with pip.
"""


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (PIP, "error: Multiple top-level packages discovered in a flat-layout: ['shop', 'reports']."),
        (
            "ERROR: No matching distribution found for x\n\n[notice] pip 9 is there\n",
            "ERROR: No matching distribution found for x",
        ),
        (
            "  ModuleNotFoundError: No module named 'x'\nnote: bye\n",
            "ModuleNotFoundError: No module named 'x'",
        ),
        ("one\ntwo\n\n", "two"),
        ("", ""),
    ],
    ids=["a build of pip", "a notice", "Python", "no error", "nothing"],
)
def test_the_line_that_names_the_error_is_said(tail: str, line: str) -> None:
    """Not a note that comes after it."""
    assert most_telling(tail) == line
