"""Results that other tools wrote as JUnit XML, in any of its dialects, as a StageResult.

- An element is a test. Those that share a name are different tests too (rows of parameters, browsers,
  systems), unless they are known to be attempts: Surefire's `flakyFailure` and `rerunFailure` within an
  element; a failure and what came after it in one suite (Prow, gotestsum); pytest-rerunfailures up to 16.7,
  which writes a failed attempt like a pass and counts tests, not elements, in its header; files of ours. Or
  the caller says so.
- Of attempts the last that decided something decides: a skip undoes no failure.
- Whatever a file contains, reading it does not raise: what was complete before the damage is kept, and the
  stage is UNKNOWN with the reason. So is a stage whose header promises more than the file holds.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from kvsync.ci.report.junit_case import Case, Suite
from kvsync.ci.report.junit_document import Document
from kvsync.ci.report.junit_names import distinct
from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.outcome import Check, Checks, Outcome, StageResult, merge
from kvsync.testing.results.uncollected import uncollected

LOST = "this attempt was repeated, and pytest-rerunfailures kept no text of it"


@uncollected()
def read_junit(paths: Sequence[Path], *, name: str, attempts: bool = False) -> StageResult:
    """Return what JUnit files say, as the result of a stage of this name. Raises OSError without a file.

    With `attempts` all elements of one name are attempts at one test, in the order of the files.
    """
    labels = Counter(path.name for path in paths)
    documents = [Document.read(path, path.name if labels[path.name] == 1 else str(path)) for path in paths]
    suites = [suite for document in documents for suite in document.suites]
    result = merge(
        name,
        _checks(documents, attempts=attempts),
        started_at=min(filter(None, map(_started, suites)), default=datetime.now(UTC)),
        duration_s=sum(suite.duration_s for suite in suites),
    )
    for document in documents:
        if document.doubt:
            result = result.doubted(f"{document.name}: {document.doubt}")
    remarks = tuple(f"{each.name}: {remark}" for each in documents for remark in each.remarks)
    return replace(result, remarks=remarks)


def _checks(documents: Sequence[Document], *, attempts: bool) -> Sequence[Check]:
    """Return a check for each test, in the order of the files, each with a name of its own."""
    endings = [suite.endings for document in documents for suite in document.suites if suite.endings]
    # Of 100,000 names the hashes take a third; two that happen to be alike only mean a closer look.
    hashes = {hash(checks.name(place)) for checks in endings for place in range(len(checks))}
    if len(hashes) == sum(map(len, endings)):
        return endings[0] if len(endings) == 1 else Checks(chain.from_iterable(endings))
    tests: list[Case] = []
    for document in documents:
        hosts = {suite.header.get("hostname", "") for suite in document.suites if suite.size}
        for suite in document.suites:
            suite.host = suite.header.get("hostname", "") if len(hosts) > 1 else ""
            tests += suite.cases() if attempts else _with_known_attempts(document, suite)
    if attempts:
        tests = [_merged(test) for test in _grouped(tests)]
    names = distinct(tests)
    return [
        test.ending if test.ending.name == name else replace(test.ending, name=name)
        for name, test in zip(names, tests, strict=True)
    ]


def _merged(attempts: Sequence[Case]) -> Case:
    """Return the attempts at one test as one case."""
    first = attempts[0]
    return replace(first, ending=last_of([each.ending for each in attempts])) if attempts[1:] else first


def _grouped(cases: Sequence[Case]) -> list[list[Case]]:
    count = Counter(each.ending.name for each in cases)
    found: dict[tuple[object, ...] | str, list[Case]] = defaultdict(list)
    for each in cases:
        # The name alone is enough for most, and a file may have 100,000.
        name = each.ending.name
        found[each.identity if count[name] > 1 else name].append(each)
    return list(found.values())


def _with_known_attempts(document: Document, suite: Suite) -> list[Case]:
    """Return the tests of one suite, where cases are known to be attempts at one, these as one."""
    cases = suite.cases()
    tests = _grouped(cases)
    if document.is_ours:
        return [_merged(test) for test in tests]
    if len(tests) == len(cases):
        return cases
    lost = suite.declared("tests") == len(tests)
    paired = not suite.is_root and all(_is_retried(test) for test in tests)
    found: list[Case] = []
    for test in tests:
        *earlier, last = test
        if lost and all(each.says_nothing for each in earlier):
            found.append(_merged([*map(_lost, earlier), last]))
        else:
            found += [_merged(test)] if paired and len(test) == 2 else test
    return found


def _lost(attempt: Case) -> Case:
    return replace(attempt, ending=Check(name=attempt.ending.name, kind="failed", detail=LOST))


def _is_retried(test: Sequence[Case]) -> bool:
    """Whether cases can be attempts: each but the last failed, and the last decided."""
    *earlier, last = test
    return not earlier or (
        all(each.ending.outcome is Outcome.FAILED for each in earlier)
        and last.ending.outcome is not Outcome.UNKNOWN
    )


def _started(suite: Suite) -> datetime | None:
    try:
        started = datetime.fromisoformat(suite.header.get("timestamp", ""))
    except ValueError:
        return None
    return started if started.tzinfo else started.replace(tzinfo=UTC)
