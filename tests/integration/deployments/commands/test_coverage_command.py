"""`kvsync-ci coverage`: how much ran, of files of the repository, and of what changed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from kvsync.errors import ConfigError

PROFILE = "SF:src/a.py\nDA:1,1\nDA:2,1\nDA:3,0\nDA:4,1\nend_of_record\n"

Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `kvsync-ci coverage` for a repository whose src/a.py has two more lines than at first."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "<b>.py").write_text("")
    for number, text in enumerate(["one\ntwo\n", "one\ntwo\nthree\nfour\n"]):
        (tmp_path / "src" / "a.py").write_text(text)
        words = ["add", "."], ["commit", "-q", "-m", str(number)]
        for each in (["init", "-q"], *words) if number == 0 else words:
            subprocess.run([*git, *each], check=True)
    (tmp_path / "profile").write_text(PROFILE)

    def run(*words: str) -> Result:
        words = ("coverage", *(words if words[0].startswith("/") else [str(tmp_path / "profile"), *words]))
        return CliRunner().invoke(app, [*words, "--repository", str(tmp_path)], catch_exceptions=False)

    return run


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--of", "lines"], 0, "all files 75.0"),
        (["--minimum", "75"], 0, "passed coverage: total: 75.00 %, at least 75 % are asked for"),
        (["--minimum", "76"], 1, "FAILED: coverage: 1 of 1 failed"),
        (["--path", "src/**=80"], 1, "failed coverage: src/**"),
        (["--path", "lib/**=1"], 2, "not run coverage: lib/**: it fits no file"),
        (["--changed", "50", "--base", "HEAD~1"], 0, "passed coverage: changed lines: 50.00 %"),
        (["--changed", "60", "--base", "HEAD~1"], 1, "src/a.py: 3"),
        (
            ["--changed", "60", "--base", "HEAD"],
            0,
            "skipped coverage: changed lines: no changed line can run",
        ),
        (["--changed", "60"], 2, "the commit to compare with is not known"),
        (["--minimum", "0", "--of", "branches"], 2, "nothing was measured of branches"),
    ],
)
def test_a_gate(command: Command, words: list[str], status: int, said: str) -> None:
    """Enough, not enough, and not known, each with its reason."""
    found = command(*words)

    assert found.exit_code == status
    assert said in " ".join(found.stdout.split())


def test_other_files_are_unknown(tmp_path: Path, command: Command) -> None:
    """A profile of another repository proves nothing of this one."""
    (tmp_path / "other").write_text(PROFILE.replace("src/a.py", "/srv/b.py"))
    found = command(str(tmp_path / "other"), "--minimum", "1")

    assert found.exit_code == 2
    assert "no measured file is in the repository: /srv/b.py" in found.stdout


def test_a_profile_that_is_cut_is_unknown(tmp_path: Path, command: Command) -> None:
    """However much it holds; what is failed stays failed."""
    (tmp_path / "cut").write_text(PROFILE + "SF:src/b.py\nDA:1,1\n")
    found = command(str(tmp_path / "cut"), "--minimum", "1")

    assert found.exit_code == 2
    assert "the record of src/b.py has no end" in found.stdout
    assert command(str(tmp_path / "cut"), "--minimum", "99").exit_code == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--path", "src"], "write PATTERN=PERCENT"),
        (["--path", "src=many"], "--paths"),
        (["--minimum", "101"], "--minimum"),
        (["--changed", "1", "--base", "no-such"], "no such commit"),
        (["--changed", "1", "--base", "--output=x"], "no such commit"),
        (["--html", "/dev/null/x.html"], "the page cannot be written"),
    ],
)
def test_bad_input(command: Command, words: list[str], error: str) -> None:
    """Each is named with its mend."""
    with pytest.raises(ConfigError, match=error):
        command(*words)


def test_the_page(tmp_path: Path, command: Command) -> None:
    """It names the lines that did not run, and what changed; a file's name is text."""
    (tmp_path / "profile").write_text(PROFILE + PROFILE.replace("a.py", "<b>.py"))
    command("--minimum", "50", "--base", "HEAD~1", "--html", str(tmp_path / "page.html"))

    page = (tmp_path / "page.html").read_text()
    assert "Coverage 75.0 %" in page
    assert "src/&lt;b&gt;.py" in page
    assert "<b>" not in page
    assert "Changed lines" in page


def test_the_least_covered_come_first(tmp_path: Path, command: Command) -> None:
    """A file without a line that can run is not one of them."""
    (tmp_path / "profile").write_text("SF:src/<b>.py\nend_of_record\n" + PROFILE)

    assert command("--of", "lines").stdout.splitlines()[2].split()[0] == "src/a.py"


def test_json(command: Command) -> None:
    """For scripts: the checks, and the shares of everything."""
    found = json.loads(command("--minimum", "50", "--json").stdout)

    assert (found["outcome"], found["total"]) == ("passed", {"both": 75.0, "lines": 75.0, "branches": None})
