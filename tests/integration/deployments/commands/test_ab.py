"""`kvsync-ci ab`: two versions of a repository, measured in turns."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from kvsync.errors import ConfigError, KVSyncError

Command = Callable[..., Result]


def costs(*values: float) -> str:
    """Return what a program prints that measured these."""
    return json.dumps([{"name": f"m{at}", "unit": "us", "value": value} for at, value in enumerate(values)])


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Compare a repository, whose last commit costs 100, with what costs this at hand."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    (tmp_path / "costs").write_text(costs(100))
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)

    def run(now: str, *words: str, base: str = "HEAD") -> Result:
        (tmp_path / "costs").write_text(now)
        words = words or ("--format", "customSmallerIsBetter", "--", "cat", "costs")
        asked = ["ab", base, "--repository", str(tmp_path), "--pairs", "5", *words]
        return CliRunner().invoke(app, asked, catch_exceptions=False)

    return run


@pytest.mark.parametrize(
    ("now", "status", "said"),
    [
        (costs(100), 0, "PASSED: 1 metric, none costs 10% more"),
        (costs(110), 1, "REGRESSION: m0 costs 10% more"),
        (costs(90), 0, "PASSED"),
        (costs(0), 2, "INCONCLUSIVE: m0: not all values are above zero"),
        (costs(100, 5), 0, "left out, because not every process of both versions gave it: m1"),
    ],
    ids=["same", "slower", "faster", "zero", "one more"],
)
def test_the_files_at_hand_are_compared_with_a_commit(
    command: Command, now: str, status: int, said: str
) -> None:
    """By what a program prints in the folder of each."""
    found = command(now)

    assert said in found.output
    assert found.exit_code == status


def test_a_program_need_not_know_that_it_is_measured(command: Command) -> None:
    """Its CPU time is compared; what each process took is in the JSON."""
    work = "--", "python3", "-c", "sum(range(len(open('costs').read()) * 20_000))"
    found = command(costs(100) + " " * 400, "--cpu", "--json", "--seen", "90", *work)

    said = json.loads(found.output)
    assert (said["verdict"], found.exit_code) == ("regression", 1)
    assert [(each["name"], len(each["samples"]["base"])) for each in said["metrics"]] == [
        ("cpu of the process", 5)
    ]


def test_what_it_is_worth_is_told_by_two_copies_of_a_commit(command: Command) -> None:
    """Whatever the files at hand cost; a measure that spreads too much cannot gate."""
    words = ("--aa", "2", "--format", "customSmallerIsBetter", "--", "cat", "costs")
    steady = command(costs(900), *words)
    assert "all of them can gate" in steady.output
    assert steady.exit_code == 0

    spread = 'import random; print(\'[{"name": "m", "unit": "s", "value": %f}]\' % random.uniform(1, 2))'
    noisy = command(costs(900), *words[:-2], "python3", "-c", spread)
    assert "unable to gate at 10%: m" in noisy.output
    assert noisy.exit_code == 2


def test_either_version_is_prepared(command: Command) -> None:
    """By one command, in the folder of each."""
    words = "--prepare", "cp costs built", "--format", "customSmallerIsBetter", "--", "cat", "built"

    assert "REGRESSION: m0 costs 50% more" in command(costs(150), *words).output


@pytest.mark.parametrize(
    ("words", "base", "says"),
    [
        (["--", "cat", "costs"], "HEAD", "name the format"),
        (["--format", "hyperfine", "--", "cat", "costs"], "HEAD", "not read as hyperfine"),
        (["--results", "{out}/r.json", "--", "true"], "HEAD", "was it written where it is looked for"),
        (["--cpu", "--", "sh", "-c", "echo broken; exit 3"], "HEAD", "exit status 3 in .*\nbroken"),
        (["--cpu", "--", "no-such-program"], "HEAD", "exit status 127"),
        (["--cpu", "--timeout", "1", "--", "sleep", "60"], "HEAD", "not done within 1 s"),
        (["--cpu", "--prepare", "false", "--", "true"], "HEAD", "false: exit status 1"),
        (["--cpu", "--", "true"], "no-such", "no such commit"),
    ],
    ids=["format", "other format", "no results", "fails", "absent", "hangs", "not prepared", "no commit"],
)
def test_what_cannot_be_compared_says_why(command: Command, words: list[str], base: str, says: str) -> None:
    """Nothing is said of the versions then."""
    with pytest.raises((ConfigError, KVSyncError), match=says):
        command(costs(100), *words, base=base)
