"""Results that other tools wrote as JUnit XML, in any of its dialects, as a StageResult.

- One test is one check, named by suite, class, name and parameters. Attempts come as `flakyFailure` and
  `rerunFailure` (Surefire, Gradle) or as elements of one name (Prow, gotestsum): the last decides.
- pytest-rerunfailures up to 16.7 writes a failed attempt as an element without any text, like a pass. Such a
  file is recognized by its header, which counts tests, not elements.
- Whatever a file contains, reading it does not raise: what was complete before the damage is kept, and the
  stage is UNKNOWN with the reason. So is a stage whose header promises more than the file holds.
- A document type is refused before any of it is looked at: JUnit has none, and attacks with XML use entities.
"""

import codecs
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from kvsync.ci.report.junit_writer import ILLEGAL
from kvsync.testing.results.attempts import last_of
from kvsync.testing.results.outcome import OUTCOMES, Attempt, Check, CheckKind, StageResult, merge

MOST_BYTES = 64 * 2**20
"""How much of a file is read; the rest of a larger one counts as cut off."""
OUTPUT_CHARACTERS = 2**20
"""How much of a test's output is kept, from its end; the file has all of it."""

LOST = "this attempt was repeated, and pytest-rerunfailures kept no text of it"
INTERIM: Mapping[str, CheckKind] = {
    "flakyFailure": "failed",
    "rerunFailure": "failed",
    "flakyError": "error",
    "rerunError": "error",
}
ENDINGS: Mapping[str, Sequence[CheckKind]] = {
    "skipped": ("skipped", "xfailed", "quarantined"),
    "failure": ("failed",),
    "error": ("error", "timeout", "void", "inconclusive", "infra-error", "not-run"),
}
"""What each element may stand for, the worst element last; our own writer puts the exact kind into `type`."""
CUT = "cut"
"""The tag given to a case that has no end."""
XFAIL_TYPE = "pytest.xfail"
PARAMETERS = ("value_param", "type_param")
"""Where GoogleTest puts a test's parameters; other tools put them in its name."""

REFERENCE = re.compile(r"&#(?:x0*([0-9a-fA-F]{1,6})|0*([0-9]{1,7}));")
ENCODING = re.compile(rb"""^\s*<\?xml[^>]*encoding=["']([\w.-]+)["']""")
NO_FILES = "punycode"
"""An encoding for host names whose decoder takes minutes for less than a megabyte."""


class _Refused(ValueError):
    """The document cannot be read as JUnit."""


@dataclass(slots=True)
class _Suite:
    """One suite: its own cases, and how many elements it holds with the suites in it."""

    name: str
    header: Mapping[str, str]
    cases: list[Element] = field(default_factory=list)
    elements: int = 0
    bad: int = 0

    def declared(self, *names: str) -> int:
        """Return the sum of these counts in the header; a missing one counts as 0."""
        return sum(int(_number(self.header.get(name, ""))) for name in names)

    def shortage(self) -> str:
        """Say what the header promises that the suite does not hold."""
        if (tests := self.declared("tests")) > self.elements:
            return f"{tests} tests are declared, {self.elements} are there"
        if (bad := self.declared("failures", "errors")) > self.bad:
            return f"{bad} failures and errors are declared, {self.bad} are there"
        return ""


class _Document:
    """Collects the suites and cases of a document while it is parsed, as far as that goes."""

    def __init__(self) -> None:
        self.suites: list[_Suite] = []
        self.problem = ""
        self._within: list[_Suite] = []
        self._builder: TreeBuilder | None = None
        self._open: Element | None = None

    def doctype(self, *_: str | None) -> None:
        raise _Refused("a document type is refused")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag = _local(tag)
        if self._builder is not None:
            self._builder.start(tag, attributes)
        elif tag in ("testsuites", "testsuite"):
            self._within.append(_Suite(attributes.get("name", ""), attributes))
            self.suites.append(self._within[-1])
        elif not self._within:
            raise _Refused(f"not a JUnit file: it begins with {tag[:80]}")
        elif tag == "testcase":
            self._builder = TreeBuilder()
            self._open = self._builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        tag = _local(tag)
        if self._builder is None:
            if tag in ("testsuites", "testsuite"):
                self._leave()
        elif (case := self._builder.end(tag)) is self._open:
            suite = self._within[-1]
            suite.cases.append(case)
            suite.elements += 1
            suite.bad += any(child.tag in ("failure", "error") for child in case)
            self._builder = self._open = None

    def data(self, text: str) -> None:
        if self._builder is not None:
            self._builder.data(text)

    def close(self) -> None:
        """The parser calls it at the end."""

    def cut(self, problem: str) -> None:
        """End the document where it is damaged: an open case becomes an attempt without an ending."""
        self.problem = problem
        if self._open is not None:
            self._open.tag = CUT
            self._within[-1].cases.append(self._open)
        while self._within:
            self._leave()

    def _leave(self) -> None:
        """End a suite: what it holds also counts for the enclosing one."""
        suite = self._within.pop()
        if self._within:
            self._within[-1].elements += suite.elements
            self._within[-1].bad += suite.bad

    @property
    def doubt(self) -> str:
        """Why the document may be incomplete; empty if it is complete."""
        shortages = (suite.shortage() for suite in self.suites)
        return "; ".join(filter(None, [self.problem, next(filter(None, shortages), "")]))


def read_junit(paths: Sequence[Path], *, name: str) -> StageResult:
    """Return what JUnit files say, as the result of a stage of this name. Raises OSError without a file."""
    documents = [_parsed(path) for path in paths]
    suites = [suite for document in documents for suite in document.suites]
    result = merge(
        name,
        _checks(suites),
        started_at=min(filter(None, map(_started, suites)), default=datetime.now(UTC)),
        duration_s=sum(_number(case.get("time", "")) for suite in suites for case in suite.cases),
    )
    for path, document in zip(paths, documents, strict=True):
        if document.doubt:
            result = result.doubted(f"{path.name}: {document.doubt}")
    return result


def _parsed(path: Path) -> _Document:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    document = _Document()
    parser = XMLParser(target=document)  # noqa: S314 - it refuses document types, so there are no entities
    try:
        parser.feed(_legal(_decoded(content[:MOST_BYTES])))
        parser.close()
    except (ParseError, _Refused) as exc:
        too_long = f"only its first {MOST_BYTES // 2**20} MiB were read"
        document.cut(too_long if len(content) > MOST_BYTES else str(exc))
    return document


def _decoded(content: bytes) -> str:
    declared = ENCODING.match(content)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = declared[1].decode() if declared else "utf-8"
    try:
        if codecs.lookup(encoding).name == NO_FILES:
            encoding = "utf-8"
        return content.decode(encoding, errors="replace").removeprefix("\ufeff")
    except (LookupError, UnicodeError):
        return content.decode(errors="replace")


def _legal(text: str) -> str:
    """Leave out characters that XML cannot hold, also if written as character references."""

    def reference(found: re.Match[str]) -> str:
        code = int(found[1], 16) if found[1] else int(found[2])
        return found[0] if code <= 0x10FFFF and not ILLEGAL.match(chr(code)) else ""

    return REFERENCE.sub(reference, ILLEGAL.sub("", text))


def _checks(suites: Sequence[_Suite]) -> list[Check]:
    """Merge the elements of each test; a name includes the suite only if needed to tell tests apart."""
    endings: dict[tuple[str, ...], list[Check]] = defaultdict(list)
    for suite in suites:
        repeated = 0 < suite.declared("tests") < len(suite.cases)
        for number, case in enumerate(suite.cases):
            key = (case.get("classname", ""), case.get("name") or f"(test {number})")
            parameters = [case.get(each, "") for each in PARAMETERS]
            before = endings[suite.name, *key, *parameters]
            if repeated and before and before[-1].kind == "passed" and not before[-1].attempts:
                before[-1] = replace(before[-1], kind="failed", detail=LOST)
            before.append(_ending(case, _name(suite.name, case, number)))
    merged = [(suite, last_of(each)) for (suite, *_), each in endings.items()]
    taken = Counter(check.name for _, check in merged)
    return [
        replace(check, name=f"{suite} {check.name}") if taken[check.name] > 1 else check
        for suite, check in merged
    ]


def _name(suite: str, case: Element, number: int) -> str:
    """Return the name of a check; for a pytest test whose file is known, this is its node id."""
    name, owner, file = (
        case.get("name") or f"(test {number})",
        case.get("classname", ""),
        case.get("file", ""),
    )
    parameters = [case.get(each, "") for each in PARAMETERS if case.get(each)]
    name += f"[{', '.join(parameters)}]" if parameters else ""
    module = file.removesuffix(".py").replace("/", ".")
    if file.endswith(".py") and f"{owner}.".startswith(f"{module}."):
        return "::".join([file, *filter(None, owner.removeprefix(module).split(".")), name])
    return name if owner in ("", suite) else f"{owner}::{name}"


def _ending(case: Element, name: str) -> Check:
    if case.tag == CUT:
        return Check(name=name, kind="inconclusive", detail="the file ends within this test case")
    kind: CheckKind = "skipped" if case.get("status") == "notrun" else "passed"
    detail = ""
    for tag in ENDINGS:
        if (found := case.find(tag)) is not None:
            kind, detail = _kind(found), _detail(found)
    attempts = tuple(_attempt(child) for child in case if child.tag in INTERIM)
    if kind == "passed" and any(OUTCOMES[each.kind] is OUTCOMES["failed"] for each in attempts):
        kind = "flaky"
    return Check(
        name=name,
        kind=kind,
        detail=detail,
        duration_s=_number(case.get("time", "")),
        log_tail=_output(case),
        properties={each.get("name", ""): each.get("value", "") for each in case.iterfind("*/property")},
        attempts=attempts,
    )


def _kind(element: Element) -> CheckKind:
    possible, said = ENDINGS[element.tag], element.get("type", "")
    if said == XFAIL_TYPE:
        said = "xfailed"
    return next((kind for kind in possible if kind == said), possible[0])


def _attempt(element: Element) -> Attempt:
    said = element.get("type", "")
    kind = next((kind for kind in OUTCOMES if kind == said), INTERIM[element.tag])
    return Attempt(kind=kind, detail=_detail(element))


def _detail(element: Element) -> str:
    """Return the text or Surefire's stack trace, with the message if it says more."""
    message, text = element.get("message", ""), element.text or ""
    text = text if text.strip() else element.findtext("stackTrace", "")
    return text if message in text else "\n".join(filter(None, [message, text]))


def _output(case: Element) -> str:
    parts = [child.text or "" for child in case if child.tag in ("system-out", "system-err")]
    output = "\n".join(filter(None, parts))
    left_out = len(output) - OUTPUT_CHARACTERS
    return (
        f"({left_out} characters before this are in the file)\n{output[left_out:]}"
        if left_out > 0
        else output
    )


def _started(suite: _Suite) -> datetime | None:
    try:
        started = datetime.fromisoformat(suite.header.get("timestamp", ""))
    except ValueError:
        return None
    return started if started.tzinfo else started.replace(tzinfo=UTC)


def _number(text: str) -> float:
    """Read a number with thousands separators or a decimal comma; 0 if there is none."""
    text = text.strip()
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d*)?", text):
        text = text.replace(",", "")
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _local(tag: str) -> str:
    """Return a tag without its namespace."""
    return tag.rpartition("}")[2]
