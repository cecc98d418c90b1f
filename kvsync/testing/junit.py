"""Results as JUnit XML, for tools that read nothing else.

Written from the recorded result rather than by pytest, so that a killed run is not "0 tests". JUnit knows
passed, failed, error and skipped only: what is UNKNOWN and not merely skipped is an error here, because
those tools show a skip as harmless. Earlier attempts follow the dialect of Maven Surefire.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from junitparser import Error, Failure, Skipped
from junitparser.xunit2 import FlakyFailure, JUnitXml, RerunFailure, TestCase, TestSuite

from kvsync.testing.outcome import Check, Outcome, StageResult

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any form."""


def write_junit(result: StageResult, path: Path, properties: Mapping[str, str]) -> None:
    """Write a stage's result; `properties` say how to repeat it (such as run and seed)."""
    suite = TestSuite(result.name)  # type: ignore[no-untyped-call]  # junitparser is typed in part
    for name, value in properties.items():
        suite.add_property(name, _legal(value))
    for check in result.checks:
        suite.add_testcase(_case(result.name, check))
    suite.timestamp = result.started_at.isoformat()
    document = JUnitXml("kvsync")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]  # as above
    path.parent.mkdir(parents=True, exist_ok=True)
    document.write(str(path))


def _case(stage: str, check: Check) -> TestCase:
    path, _, name = check.name.partition("::")
    module = path.removesuffix(".py").replace("/", ".") if name else stage
    case = TestCase(_legal(name or path), classname=_legal(module), time=check.duration_s)
    message, text = _legal(check.headline), _legal(check.detail)
    match check.kind:
        case "passed" | "flaky":
            pass
        case "skipped" | "xfailed":
            case.result = [Skipped(message, check.kind)]
        case "failed":
            case.result = [Failure(message, check.kind)]
        case kind:
            case.result = [Error(message, kind)]
    for result in case.result:
        result.text = text
    attempt_type = FlakyFailure if check.outcome is Outcome.PASSED else RerunFailure
    for attempt in check.attempts:
        interim = attempt_type(attempt.kind)
        interim.text = _legal(attempt.detail)
        case.add_interim_result(interim)
    for name, value in check.properties.items():
        case.add_property(name, _legal(value))
    if check.log_tail:
        case.system_out = _legal(check.log_tail)
    return case


def _legal(text: str) -> str:
    return ILLEGAL.sub("\ufffd", text)
