"""Shards of a stage: together they run every test, with our plugin and without, and say so if not."""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kvsync.ci.project.choice import stages_of
from kvsync.ci.project.reading import parse_project
from kvsync.ci.stages.making import make_stage
from kvsync.ci.stages.stage import StageContext, run_safely
from kvsync.testing.results.outcome import Outcome, StageResult

FILES = {"a": 1, "b": 2, "c": 2, "d": 3}

DURATIONS_S = {
    "tests/some/test_a.py::test_0": 9.0,
    **{f"tests/some/test_d.py::test_{n}": 1.0 for n in range(3)},
}
"""Of the others nothing is recorded, so each takes 1 s: a has 9 s, d 3 s, b and c 2 s each."""


@pytest.fixture
def sharded(context: StageContext) -> StageContext:
    """Four files with some tests each."""
    for name, count in FILES.items():
        code = "".join(f"def test_{number}(): pass\n" for number in range(count))
        (context.repository / "tests" / "some" / f"test_{name}.py").write_text(code)
    return replace(context, durations_s=DURATIONS_S)


def run(context: StageContext, stage: str, shards: int = 2, more: str = "") -> StageResult:
    """Run a shard as the file says."""
    text = f'[stages.some]\nkind = "pytest"\nfolder = "tests/some"\nshards = {shards}\n{more}\n'
    return run_safely(make_stage(stages_of(parse_project(text))[stage], 120), context)


def files(result: StageResult) -> str:
    """Return which files a shard ran."""
    return "".join(sorted({check.name.partition("::")[0][-4] for check in result.checks}))


def ran(results: Mapping[str, StageResult]) -> dict[str, str]:
    """Return which files each shard ran."""
    return {name: files(result) for name, result in results.items()}


def test_together_they_run_every_test(sharded: StageContext) -> None:
    """By what the tests took; every attempt of the run by the same, whatever was recorded meanwhile."""
    first = run(sharded, "some-1")
    second = run(replace(sharded, durations_s={}), "some-2")

    assert (files(first), files(second)) == ("a", "bcd")
    assert first.summary() == "PASSED: some-1: 1 passed"
    assert second.summary() == "PASSED: some-2: 7 passed"
    assert second.remarks == ("shard 2 of 2: 7 of 8 tests",)


def test_without_records_they_are_shared_by_number(sharded: StageContext) -> None:
    """d has three tests, b and c two, a one."""
    bare = replace(sharded, durations_s={})

    assert [files(run(bare, name)) for name in ("some-1", "some-2")] == ["ad", "bc"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in one run", "in another run"])
def test_a_test_in_no_shard_is_found(sharded: StageContext, elsewhere: bool) -> None:
    """The shards shared other tests, such as after a change in between: the last one says so."""
    other = sharded
    if elsewhere:
        other = replace(sharded, elsewhere={"some-1": frozenset({"tests/some/test_b.py::test_0"})})
    else:
        run(sharded, "some-1")
        (sharded.run_dir / "history" / "some-durations.json").write_text(
            '{"tests/some/test_d.py::test_0": 99}'
        )
    result = run(other, "some-2")

    assert result.outcome is Outcome.UNKNOWN
    lost = {True: "1 of 8 are in none of some-1, some-2, such as tests/some/test_a.py::test_0"}
    assert lost.get(elsewhere, "3 of 8 are in none of some-1, some-2, such as tests/some/test_d.py") in (
        result.reason
    )


def test_a_shard_that_did_not_run_proves_nothing_of_another(sharded: StageContext) -> None:
    """It is unknown itself; the other stands for its own tests."""
    run(sharded, "some-1", more='environment = {PYTEST_ADDOPTS = "--no-such-option"}')

    assert run(sharded, "some-2").outcome is Outcome.PASSED


def test_more_shards_than_files(sharded: StageContext) -> None:
    """A stage without a test never passes; it says what to change."""
    result = run(sharded, "some-5", shards=5)

    assert result.outcome is Outcome.UNKNOWN
    assert "no test is left for 5/5: 4 files; lower `shards` of some" in result.reason


def test_a_file_that_cannot_be_read_fails_in_each(sharded: StageContext) -> None:
    """What is in it belongs to none of them."""
    (sharded.repository / "tests" / "some" / "test_a.py").write_text("import nowhere")

    assert [run(sharded, name).outcome for name in ("some-1", "some-2")] == [Outcome.FAILED] * 2


def test_several_processes_share_a_shard(sharded: StageContext) -> None:
    """Each of them chooses the same tests."""
    assert run(sharded, "some-2", more="workers = 2").summary() == "PASSED: some-2: 7 passed"


def test_without_our_plugin_files_are_chosen(sharded: StageContext) -> None:
    """They are named on the command line, in the same shards; or all, where one is broken."""
    venv = sharded.repository / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    (packages,) = venv.glob("lib/*/site-packages")
    (packages / "own.pth").write_text(sysconfig.get_path("purelib"))
    own = 'python = ".venv/bin/python"'
    results = {name: run(sharded, name, more=own) for name in ("some-1", "some-2")}
    left = run(sharded, "some-5", shards=5, more=own)
    (sharded.repository / "tests" / "some" / "test_a.py").write_text("import nowhere")

    assert ran(results) == {"some-1": "a", "some-2": "bcd"}
    assert {each.outcome for each in results.values()} == {Outcome.PASSED}
    assert results["some-2"].remarks == ("shard 2 of 2: 7 of 8 tests",)
    assert "no test is left for 5/5" in left.reason
    assert run(sharded, "some-2", more=own).outcome is Outcome.FAILED


@pytest.mark.parametrize("given", ["x", "0/3", "4/3", "1"])
def test_what_is_no_part(given: str, tmp_path: Path) -> None:
    """By hand, too, a misspelt part is an error, not all of the tests."""
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "kvsync.testing.pytest_plugin",
        f"--shard={given}",
        str(tmp_path),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)

    assert done.returncode == 4
    assert f"'{given}' is no part of the tests; give NUMBER/COUNT, such as 2/3" in done.stderr
