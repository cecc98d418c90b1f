"""Results as JUnit XML, for tools that read nothing else.

Written from the recorded result rather than by pytest, so that a killed run is not "0 tests". JUnit knows
passed, failed, error and skipped only: what is UNKNOWN and not merely skipped is an error here, because
those tools show a skip as harmless. A quarantined failure is a skip with its text: tools that gate on the
file must not be stricter than the verdict. Earlier attempts follow the dialect of Maven Surefire.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from junitparser import Error, Failure, Skipped
from junitparser.xunit2 import FlakyFailure, JUnitXml, RerunFailure, TestCase, TestSuite

from kvsync.testing.results.outcome import Check, Outcome, StageResult, merge

OURS = "kvsync"
"""The name of our documents: in them, elements of one name are attempts at one test."""

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any form."""


def write_junit(result: StageResult, path: Path, properties: Mapping[str, str]) -> None:
    """Write a stage's result, earlier attempts as Surefire does; `properties` say how to repeat it."""
    _write(result, path, properties, [_with_attempts(result.name, each) for each in _shown(result)])


def write_prow(result: StageResult, path: Path, properties: Mapping[str, str]) -> None:
    """Write a stage's result as Prow's tools read it: each attempt is a test case of the same name."""
    cases = [_case(result.name, each) for check in _shown(result) for each in _endings(check)]
    _write(result, path, properties, cases)


def _write(result: StageResult, path: Path, properties: Mapping[str, str], cases: Iterable[TestCase]) -> None:
    suite = TestSuite(result.name)  # type: ignore[no-untyped-call]  # junitparser is typed in part
    for name, value in properties.items():
        suite.add_property(name, _legal(value))
    suite.add_testcases([*cases])  # all at once: each call counts the whole suite anew
    suite.timestamp = result.started_at.isoformat()
    document = JUnitXml(OURS)
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]  # as above
    path.parent.mkdir(parents=True, exist_ok=True)
    document.write(str(path))


def _shown(result: StageResult) -> list[Check]:
    """Return the checks, and one more for what is doubtful although no check says so."""
    doubts = (
        [Check(name=result.name, kind="inconclusive", detail=result.doubt)] if _is_doubted(result) else []
    )
    return [*result.checks, *doubts]


def _is_doubted(result: StageResult) -> bool:
    return result.outcome is not merge(result.name, result.checks, started_at=result.started_at).outcome


def _endings(check: Check) -> list[Check]:
    """Return one check for each attempt, the last with what is known of the whole."""
    earlier = [
        Check(name=check.name, kind=each.kind, detail=each.detail, duration_s=each.duration_s)
        for each in check.attempts
    ]
    return [*earlier, replace(check, attempts=())]


def _with_attempts(stage: str, check: Check) -> TestCase:
    case = _case(stage, check)
    attempt_type = FlakyFailure if check.outcome is Outcome.PASSED else RerunFailure
    for attempt in check.attempts:
        interim = attempt_type(_legal(attempt.detail.partition("\n")[0]), attempt.kind)
        interim.text = _legal(attempt.detail)
        case.add_interim_result(interim)
    return case


def _case(stage: str, check: Check) -> TestCase:
    path, _, name = check.name.partition("::")
    module = path.removesuffix(".py").replace("/", ".") if name else stage
    case = TestCase(_legal(name or path), classname=_legal(module), time=check.duration_s)
    if name:
        case._elem.set("file", _legal(path))  # junitparser has no word for it, viewers do
    message, text = _legal(check.headline), _legal(check.detail)
    match check.kind:
        case "passed" | "flaky":
            pass
        case "skipped" | "xfailed" | "quarantined":
            case.result = [Skipped(message, check.kind)]
        case "failed":
            case.result = [Failure(message, check.kind)]
        case kind:
            case.result = [Error(message, kind)]
    for result in case.result:
        result.text = text
    for name, value in check.properties.items():
        case.add_property(name, _legal(value))
    if check.log_tail:
        case.system_out = _legal(check.log_tail)
    return case


def _legal(text: str) -> str:
    return ILLEGAL.sub("\ufffd", text)
