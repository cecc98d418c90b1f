"""A forked program is as one that was started anew, for those who start it."""

import os
from pathlib import Path

from tests.forking import forking

PROGRAM = """
import os, sys
print(sys.argv[1:], os.environ.get("WORD"), os.getcwd(), "json" in sys.modules)
print("told", file=sys.stderr, flush=True)
"""


def test_programs_have_words_variables_and_a_folder_of_their_own(tmp_path: Path) -> None:
    """None of them is left to the next one, nor is anything that it imported; what it prints is kept."""
    with forking("json") as fork:
        first = fork(f"{PROGRAM}import difflib", "a", env={"WORD": "x"}, cwd=tmp_path)
        second = fork(f"{PROGRAM}print('difflib' in sys.modules)", env={}, cwd=Path("/"))

    assert sorted(first.stdout.splitlines()) == [f"['a'] x {tmp_path} True", "told"]
    assert sorted(second.stdout.splitlines()) == ["False", "[] None / True", "told"]


def test_how_a_program_ended_is_told(tmp_path: Path) -> None:
    """By itself, with a status or an error, or by a signal."""
    codes = ("", "raise SystemExit(3)", "1 / 0", "import os; os.kill(os.getpid(), 9)")
    with forking() as fork:
        ended = [fork(code, env=os.environ, cwd=tmp_path) for code in codes]

    assert [each.returncode for each in ended] == [0, 3, 1, -9]
    assert "ZeroDivisionError" in ended[2].stdout
