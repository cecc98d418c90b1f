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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from xml.etree.ElementTree import Element

from kvsync.ci.report.junit_document import CUT, INTERIM, Document, Suite, number
from kvsync.ci.report.junit_names import TestName, distinct
from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.outcome import OUTCOMES, Check, CheckKind, Outcome, StageResult, merge
from kvsync.testing.results.texts import MISSING
from kvsync.testing.results.uncollected import uncollected

OUTPUT_CHARACTERS = 2**20
"""How much of a test's output is kept, from its end; the file has all of it."""

LOST = "this attempt was repeated, and pytest-rerunfailures kept no text of it"
ENDINGS: Mapping[str, Sequence[CheckKind]] = {
    "skipped": ("skipped", "xfailed", "quarantined", "measured"),
    "failure": ("failed",),
    "error": ("error", "timeout", "void", "inconclusive", "infra-error", "not-run"),
}
"""What each element may stand for, the worst element last; our own writer puts the exact kind into `type`."""
XFAIL_TYPE = "pytest.xfail"

WORDS: Mapping[str, CheckKind] = {
    **dict.fromkeys(("skipped", "skip", "ignored", "ignore", "disabled", "suppressed", "pending"), "skipped"),
    **dict.fromkeys(("notrun", "not run", "not_run", "notexecuted", "todo", "excluded"), "skipped"),
    **dict.fromkeys(("failed", "fail", "failure", "broken"), "failed"),
    **dict.fromkeys(("error", "errored", "crashed", "aborted"), "error"),
    **dict.fromkeys(("timeout", "timedout", "timed out", "timed_out"), "timeout"),
}
"""What `status` or `result` of an element may say instead of an element in it."""
LEFT_OUT = ("skipped", "disabled", "ignored")
"""Elements in a case, or attributes that say `true`, of tests that did not run."""

OF_AN_ATTEMPT = frozenset(
    {"time", "duration", "timestamp", "start", "end", "started-at", "finished-at", "assertions", "log", "url"}
    | {"status", "result", "message", "failure", "error", *LEFT_OUT}
)
"""Attributes that say how or when an attempt ended; all others say which test it was."""

Identity = tuple[object, ...]


@dataclass(slots=True, eq=False)
class _Element:
    """One element of a file, and which test it was; `is_lost`: an attempt that failed without a word."""

    case: Element
    host: str
    name: TestName
    is_lost: bool = False

    @classmethod
    def of(cls, case: Element, document: Document, suite: Suite, position: int, host: str) -> Self:
        """Read an element; `host` is what tells the suites of the document apart, if that does."""
        return cls(case, host, TestName.of(case, suite, document, position))

    @property
    def identity(self) -> Identity:
        """What its attempts share, and no other test has."""
        said = [each for each in self.case.attrib.items() if each[0] not in OF_AN_ATTEMPT]
        return (self.name.suite.name, self.host, self.name.own, tuple(sorted(said)))

    def ending(self, name: str = "") -> Check:
        """Return how it ended, as the check of this name."""
        return Check(name=name, kind="failed", detail=LOST) if self.is_lost else _ending(self.case, name)

    @property
    def says_nothing(self) -> bool:
        """Whether it is a bare pass, as which pytest-rerunfailures writes any attempt but the last."""
        ending = self.ending()
        return ending.kind == "passed" and not ending.attempts


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
        duration_s=sum(number(case.get("time", "")) for suite in suites for case in suite.cases),
    )
    for document in documents:
        if document.doubt:
            result = result.doubted(f"{document.name}: {document.doubt}")
    remarks = tuple(f"{each.name}: {remark}" for each in documents for remark in each.remarks)
    return replace(result, remarks=remarks)


def _checks(documents: Iterable[Document], *, attempts: bool) -> list[Check]:
    """Return a check for each test, in the order of the files, each with a name of its own."""
    elements: list[list[_Element]] = []
    for document in documents:
        hosts = {suite.header.get("hostname", "") for suite in document.suites if suite.cases}
        for suite in document.suites:
            host = suite.header.get("hostname", "") if len(hosts) > 1 else ""
            found = [
                _Element.of(case, document, suite, position, host)
                for position, case in enumerate(suite.cases)
            ]
            elements += [[each] for each in found] if attempts else _known_attempts(document, suite, found)
    tests = _grouped([each for group in elements for each in group]) if attempts else elements
    names = distinct([test[0].name for test in tests])
    return [last_of([each.ending(name) for each in test]) for name, test in zip(names, tests, strict=True)]


def _grouped(elements: Sequence[_Element]) -> list[list[_Element]]:
    count = Counter(each.name.own for each in elements)
    found: dict[Identity | str, list[_Element]] = defaultdict(list)
    for each in elements:
        # The name alone is enough for most, and a file may have 100,000.
        found[each.identity if count[each.name.own] > 1 else each.name.own].append(each)
    return list(found.values())


def _known_attempts(document: Document, suite: Suite, elements: Sequence[_Element]) -> list[list[_Element]]:
    """Group the elements of one suite that are known to be attempts at one test."""
    tests = _grouped(elements)
    if len(tests) == len(elements) or document.is_ours:
        return tests
    lost = suite.declared("tests") == len(tests)
    paired = not suite.is_root and all(_is_retried(test) for test in tests)
    found = []
    for test in tests:
        *earlier, last = test
        if lost and all(each.says_nothing for each in earlier):
            found.append([*(replace(each, is_lost=True) for each in earlier), last])
        else:
            found += [test] if paired and len(test) == 2 else [[each] for each in test]
    return found


def _is_retried(test: Sequence[_Element]) -> bool:
    """Whether elements can be attempts: each but the last failed, and the last decided."""
    *earlier, last = test
    return not earlier or (
        all(each.ending().outcome is Outcome.FAILED for each in earlier)
        and last.ending().outcome is not Outcome.UNKNOWN
    )


def _ending(case: Element, name: str) -> Check:
    """Return how an element ended, with its attempts."""
    if case.tag == CUT:
        return Check(name=name, kind="inconclusive", detail="the file ends within this test case")
    kind, detail = _kind_and_detail(case)
    last = Check(
        name=name,
        kind=kind,
        detail=detail,
        duration_s=number(case.get("time", "")),
        log_tail=_output(case),
        properties={
            each.get("name", ""): each.get("value", "")
            for properties in case.iterfind("properties")
            for each in properties.iterfind("property")
        }
        if len(case)
        else {},
    )
    return last_of([*(_attempt(child, name) for child in case if child.tag in INTERIM), last])


def _kind_and_detail(case: Element) -> tuple[CheckKind, str]:
    """Say how it ended by its elements and its attributes, whichever is worse."""
    kind: CheckKind = "passed"
    detail = ""
    for tag in ENDINGS if len(case) else ():
        if found := case.findall(tag):
            kind, detail = _kind(found[0]), "\n".join(filter(None, map(_detail, found)))
    said: list[tuple[str, str]] = [
        (case.attrib[name], name) for name in ("status", "result") if name in case.attrib
    ]
    marked = [name for name in LEFT_OUT if case.get(name) == "true"]
    marked += [child.tag for child in case if child.tag in LEFT_OUT and child.tag not in ENDINGS]
    said += [(name, name) for name in marked]
    for text, name in said:
        word = WORDS.get(text.lower(), kind)
        if OUTCOMES[word] > OUTCOMES[kind]:
            kind, detail = word, detail or f"{name}: {text}"
    return kind, detail


def _kind(element: Element) -> CheckKind:
    possible, said = ENDINGS[element.tag], element.get("type", "")
    if said == XFAIL_TYPE:
        said = "xfailed"
    return next((kind for kind in possible if kind == said), possible[0])


def _attempt(element: Element, name: str) -> Check:
    said = element.get("type", "")
    kind = next((kind for kind in OUTCOMES if kind == said), INTERIM[element.tag])
    return Check(name=name, kind=kind, detail=_detail(element))


def _detail(element: Element) -> str:
    """Return the text or Surefire's stack trace, with the message if it says more; or else the type."""
    message, text, said = element.get("message", ""), element.text or "", element.get("type", "")
    text = text if text.strip() else element.findtext("stackTrace", "")
    whole = text if message.partition(MISSING)[0] in text else "\n".join(filter(None, [message, text]))
    return whole if whole.strip() or said in OUTCOMES else said


def _output(case: Element) -> str:
    parts = [child.text or "" for child in case if child.tag in ("system-out", "system-err")]
    output = "\n".join(filter(None, parts))
    left_out = len(output) - OUTPUT_CHARACTERS
    return (
        f"({left_out} characters before this are in the file)\n{output[left_out:]}"
        if left_out > 0
        else output
    )


def _started(suite: Suite) -> datetime | None:
    try:
        started = datetime.fromisoformat(suite.header.get("timestamp", ""))
    except ValueError:
        return None
    return started if started.tzinfo else started.replace(tzinfo=UTC)
