"""Results as JUnit XML, for tools that read nothing else.

Written from the recorded result rather than by pytest, so that a killed run is not "0 tests". JUnit knows
passed, failed, error and skipped only: what is UNKNOWN and not merely skipped is an error here, because
those tools show a skip as harmless. A quarantined failure is a skip with its text: tools that gate on the
file must not be stricter than the verdict. Earlier attempts follow the dialect of Maven Surefire.
"""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from junitparser import Error, Failure, Skipped
from junitparser.xunit2 import FlakyFailure, RerunFailure, TestCase

from kvsync.testing.results.outcome import Check, Checks, Outcome, StageResult, merge

OURS = "kvsync"
"""The name of our documents: in them, elements of one name are attempts at one test."""

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold in any form."""

RESULTS = {"skipped": Skipped, "failure": Failure, "error": Error}


def write_forms(result: StageResult, surefire: Path, prow: Path, properties: Mapping[str, str]) -> None:
    """Write a stage's result in both forms, which differ only where something was tried again."""
    write_junit(result, surefire, properties)
    if result.has(lambda check: bool(check.attempts)):
        write_prow(result, prow, properties)
    else:
        prow.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(surefire, prow)


def write_junit(result: StageResult, path: Path, properties: Mapping[str, str]) -> None:
    """Write a stage's result, earlier attempts as Surefire does; `properties` say how to repeat it."""
    _write(result, path, properties, _shown(result), _with_attempts)


def write_prow(result: StageResult, path: Path, properties: Mapping[str, str]) -> None:
    """Write a stage's result as Prow's tools read it: each attempt is a test case of the same name."""
    endings = Checks(each for check in _shown(result) for each in _endings(check))
    _write(result, path, properties, endings, _case)


def _write(
    result: StageResult,
    path: Path,
    properties: Mapping[str, str],
    checks: Sequence[Check],
    case: Callable[[str, Check], TestCase],
) -> None:
    """Write one case after the other: junitparser's own document takes memory for all of them."""
    counts = Counter(_tag(check) for check in checks)
    header = {
        "tests": str(len(checks)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "time": str(round(sum(check.duration_s for check in checks), 3)),
    }
    own = {"skipped": str(counts["skipped"]), "timestamp": result.started_at.isoformat()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        xml = XMLGenerator(file, "utf-8", short_empty_elements=True)
        xml.startDocument()
        xml.startElement("testsuites", AttributesImpl({"name": OURS, **header}))
        xml.startElement("testsuite", AttributesImpl({"name": _legal(result.name), **header, **own}))
        if properties:
            xml.startElement("properties", AttributesImpl({}))
            for name, value in properties.items():
                xml.startElement("property", AttributesImpl({"name": _legal(name), "value": _legal(value)}))
                xml.endElement("property")
            xml.endElement("properties")
        for check in checks:
            xml.ignorableWhitespace("\n")
            file.write(case(result.name, check).tostring())  # type: ignore[no-untyped-call]  # junitparser is typed in part
        xml.endElement("testsuite")
        xml.endElement("testsuites")


def _tag(check: Check) -> str:
    """Return the element that says how a check ended; "" for one that passed."""
    match check.kind:
        case "passed" | "flaky":
            return ""
        case "skipped" | "measured" | "xfailed" | "quarantined":
            return "skipped"
        case "failed":
            return "failure"
    return "error"


def _shown(result: StageResult) -> Sequence[Check]:
    """Return the checks, and one more for what is doubtful although no check says so."""
    if not _is_doubted(result):
        return result.checks
    return Checks([*result.checks, Check(name=result.name, kind="inconclusive", detail=result.doubt)])


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
    if tag := _tag(check):
        case.result = [RESULTS[tag](_legal(check.headline), check.kind)]
        case.result[0].text = _legal(check.detail)
    for name, value in check.properties.items():
        case.add_property(name, _legal(value))
    if check.log_tail:
        case.system_out = _legal(check.log_tail)
    return case


def _legal(text: str) -> str:
    return ILLEGAL.sub("\ufffd", text)
