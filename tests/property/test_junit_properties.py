"""JUnit files: what is written is read again, and a damage costs nothing that was complete."""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsync.ci.report.junit_reader import read_junit
from kvsync.ci.report.junit_writer import ILLEGAL, write_junit, write_prow
from kvsync.testing.results.outcome import Attempt, Check, CheckKind, Outcome, StageResult, merge

Write = Callable[[StageResult, Path, Mapping[str, str]], None]

WRITERS = pytest.mark.parametrize(
    "write", [pytest.param(write_junit, id="surefire"), pytest.param(write_prow, id="prow")]
)
quick = settings(deadline=None, max_examples=100, database=None)
names = st.builds(
    "tests/e2e/test_{}.py::{}".format, st.sampled_from("ab"), st.text(string.printable[:95], min_size=1)
)
texts = st.text().map(lambda text: ILLEGAL.sub("", text).replace("\r", "").strip())
attempts = st.builds(Attempt, kind=st.sampled_from(["failed", "error", "timeout"]), detail=texts)
FAILURES: list[CheckKind] = ["failed", "error", "timeout", "quarantined"]
UNDECIDED: list[CheckKind] = ["void", "skipped", "inconclusive"]
"""How no check ends whose earlier attempts failed: what decides nothing undoes no failure."""


@st.composite
def checks(draw: st.DrawFn, name: str) -> Check:
    """Return a check; one that passed has nothing to say but of its earlier attempts."""
    earlier = tuple(draw(st.lists(attempts, max_size=2)))
    rest: list[CheckKind] = ["flaky"] if earlier else ["passed", "xfailed", *UNDECIDED]
    kind = draw(st.sampled_from([*FAILURES, *rest]))
    detail = "" if kind in ("passed", "flaky") else draw(texts)
    return Check(name=name, kind=kind, detail=detail, log_tail=draw(texts), attempts=earlier)


@st.composite
def results(draw: st.DrawFn) -> StageResult:
    """Return the result of a stage with tests of different names."""
    tests = draw(st.lists(names, max_size=5, unique=True))
    return merge("e2e", [draw(checks(name)) for name in tests], started_at=datetime(2026, 11, 20, tzinfo=UTC))


@quick
@WRITERS
@given(result=results())
def test_round_trip(write: Write, result: StageResult) -> None:
    """What one form or the other says is what was written."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "e2e.xml"
        write(result, path, {"run": "1"})

        assert read_junit([path], name="e2e") == result


@quick
@WRITERS
@given(result=results(), share=st.floats(0, 1))
def test_a_truncated_file(write: Write, result: StageResult, share: float) -> None:
    """Cut anywhere, reading raises nothing, keeps each whole test case, and is never a pass."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "e2e.xml"
        write(result, path, {})
        whole = path.read_bytes().rstrip()
        kept = whole[: int(share * (len(whole) - 1))]
        path.write_bytes(kept)
        read = read_junit([path], name="e2e")

    complete = kept.count(b"</testcase>") + sum(each.endswith(b"/") for each in _openings(kept))
    decided = [each for each in read.checks if each.detail != "the file ends within this test case"]
    assert len(decided) + sum(len(each.attempts) for each in read.checks) >= complete
    assert read.outcome is not Outcome.PASSED
    whole_checks = {check.name: check.outcome for check in result.checks}
    assert all(check.outcome <= max(whole_checks[check.name], Outcome.UNKNOWN) for check in decided[:-1])


def _openings(content: bytes) -> list[bytes]:
    """Return the tags with which test cases begin, as far as they are whole."""
    return [each.partition(b">")[0] for each in content.split(b"<testcase")[1:] if b">" in each]


@quick
@given(content=st.binary(max_size=200), head=st.sampled_from([b"", b"<testsuite>", b"<testsuite><testcase "]))
def test_any_bytes(content: bytes, head: bytes) -> None:
    """No content makes reading raise."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.xml"
        path.write_bytes(head + content)

        assert read_junit([path], name="any").checks is not None


@dataclass(frozen=True)
class Written:
    """A suite element as some tool writes it: what its cases are called, and which of them failed."""

    name: str
    host: str
    cases: tuple[tuple[str, bool], ...]

    def __str__(self) -> str:
        bad = sum(failed for _, failed in self.cases)
        cases = "".join(
            f'<testcase classname="T" name="{name}">{"<failure/>" if failed else ""}</testcase>'
            for name, failed in self.cases
        )
        counts = f'tests="{len(self.cases)}" failures="{bad}"'
        return f'<testsuite name="{self.name}" hostname="{self.host}" {counts}>{cases}</testsuite>'


few = st.sampled_from("ab")
suites_written = st.lists(
    st.builds(Written, few, few, st.lists(st.tuples(few, st.booleans()), max_size=4).map(tuple)), max_size=4
)


@st.composite
def rearranged(draw: st.DrawFn, suites: list[Written]) -> list[list[Written]]:
    """Return the same tests in other files: suites in another order, and those without rows in parts."""
    parts = []
    for suite in suites:
        if len(dict(suite.cases)) < len(suite.cases):
            parts.append(suite)
            continue
        cases = draw(st.permutations(suite.cases))
        middle = draw(st.integers(0, len(cases)))
        parts += [replace(suite, cases=tuple(part)) for part in (cases[:middle], cases[middle:])]
    files: list[list[Written]] = [[] for _ in range(3)]
    for part in draw(st.permutations(parts)):
        files[draw(st.integers(0, 2))].append(part)
    return files


def read_files(files: list[list[Written]]) -> StageResult:
    """Write these suites, a document for each list, and read all of it."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.xml" for number, _ in enumerate(files)]
        for path, suites in zip(paths, files, strict=True):
            path.write_text(f"<testsuites>{''.join(map(str, suites))}</testsuites>")
        return read_junit(paths, name="theirs")


@quick
@given(data=st.data(), suites=suites_written)
def test_rearranged_files_fail_as_often(data: st.DataObject, suites: list[Written]) -> None:
    """Shuffled, split and merged, files have the same failures: none becomes a pass."""
    failures = [
        sum(check.outcome is Outcome.FAILED for check in read.checks)
        for read in (read_files([suites]), read_files(data.draw(rearranged(suites))))
    ]

    assert failures[0] == failures[1]
