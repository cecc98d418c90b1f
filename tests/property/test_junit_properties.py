"""JUnit files: what is written is read again, and a damage costs nothing that was complete."""

import string
from collections.abc import Callable, Mapping
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
OTHER: list[CheckKind] = ["failed", "error", "timeout", "void", "skipped", "inconclusive"]


@st.composite
def checks(draw: st.DrawFn, name: str) -> Check:
    """Return a check; one that passed has nothing to say but of its earlier attempts."""
    earlier = tuple(draw(st.lists(attempts, max_size=2)))
    kind: CheckKind = draw(st.sampled_from([*OTHER, *(["flaky"] if earlier else ["passed", "xfailed"])]))
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
