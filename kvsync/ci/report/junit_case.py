"""Suites and cases of JUnit files as values, apart from the elements that they were read from. Pure.

A file may have 100,000 cases: what they share is there once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from xml.etree.ElementTree import Element

from kvsync.ci.report.junit_endings import CUT, INTERIM, LEFT_OUT, ending_of, number
from kvsync.testing.results.outcome import Check, Checks

PARAMETERS = ("value_param", "type_param")
"""Where GoogleTest puts a test's parameters; other tools put them in its name."""

OF_AN_ATTEMPT = frozenset(
    {"time", "duration", "timestamp", "start", "end", "started-at", "finished-at", "assertions", "log", "url"}
    | {"status", "result", "message", "failure", "error", *LEFT_OUT}
)
"""Attributes that say how or when an attempt ended; all others say which test it was."""

Marks = tuple[tuple[str, str], ...]

NO_MARKS = OF_AN_ATTEMPT | {"name"}
"""With the one that the name of the check says."""


@dataclass(slots=True)
class Suite:
    """One suite of the document of a name: its own cases, and how much it holds with the suites in it.

    `size`: how many cases of its own it has, `duration_s`: what these took, `host`: where, if that differs.
    """

    name: str
    document: str
    header: Mapping[str, str]
    is_root: bool = False
    endings: Checks = field(default_factory=Checks)
    marks: list[Marks] = field(default_factory=list)
    tests: int = 0
    bad: int = 0
    attempts: int = 0
    size: int = 0
    duration_s: float = 0.0
    has_status: bool = True
    host: str = ""

    def cases(self) -> list["Case"]:
        """Return its own cases, each as a value."""
        return [Case(self, marks, ending) for marks, ending in zip(self.marks, self.endings, strict=True)]

    def declared(self, *names: str) -> int:
        """Return the sum of these counts in the header; a missing one counts as 0."""
        return sum(int(number(self.header.get(name, ""))) for name in names)

    def add(self, case: Element) -> None:
        """Take a case in."""
        read = Case.of(case, self)
        self.endings.append(read.ending)
        self.marks.append(read.marks)
        self.size += 1
        self.duration_s += number(case.get("time", ""))
        self.has_status &= case.get("status") == "run" and "result" not in case.attrib
        if case.tag != CUT:
            self.tests += case.tag == "testcase"
            self.bad += sum(child.tag in ("failure", "error") for child in case)
            self.attempts += sum(child.tag in INTERIM for child in case)

    @property
    def counts_assertions(self) -> bool:
        """Whether its tool (Catch2, doctest) counts assertions, known by what else it writes."""
        return bool(self.size) and self.has_status and "disabled" not in self.header

    @property
    def shortage(self) -> str:
        """What the header promises that the suite does not hold."""
        tests, bad = self.declared("tests"), self.declared("failures", "errors")
        of_assertions = self.counts_assertions
        if tests > self.tests + self.attempts and not of_assertions:
            return f"{tests} tests are declared, {self.tests} are there"
        if bad > self.bad + self.attempts and not (of_assertions and self.bad):
            return f"{bad} failures and errors are declared, {self.bad} are there"
        return ""


@dataclass(slots=True, eq=False)
class Case:
    """One case: `ending` has its usual name, `marks` are the attributes that say which test it was."""

    suite: Suite
    marks: Marks
    ending: Check

    @classmethod
    def of(cls, case: Element, suite: Suite) -> Self:
        """Read a case, which comes next in its suite."""
        own = case.get("name") or f"(test {suite.size})"
        if parameters := [case.get(each, "") for each in PARAMETERS if case.get(each)]:
            own += f"[{', '.join(parameters)}]"
        marks = tuple(sorted(item for item in case.items() if item[0] not in NO_MARKS))
        if suite.marks and suite.marks[-1] == marks:
            marks = suite.marks[-1]  # one for all cases of a class
        return cls(suite, marks, ending_of(case, _usual(own, suite.name, case.attrib)))

    @property
    def full_name(self) -> str:
        """Its name with that of its class, which is left out where the suite has that name."""
        name, owner, node = self.ending.name, *_owner(dict(self.marks))
        return f"{owner}::{name}" if owner and owner == self.suite.name and not node else name

    @property
    def identity(self) -> tuple[object, ...]:
        """What its attempts share, and no other test has."""
        return (self.suite.name, self.suite.host, self.ending.name, self.marks)

    @property
    def says_nothing(self) -> bool:
        """Whether it is a bare pass, as which pytest-rerunfailures writes any attempt but the last."""
        return self.ending.kind == "passed" and not self.ending.attempts

    @property
    def circumstances(self) -> tuple[str, ...]:
        """What else tells it from others, in the order in which that is said."""
        of_suite = [self.suite.header.get(each, "") for each in ("name", "package", "hostname")]
        of_case = [dict(self.marks).get(each, "") for each in ("class", "file", "feature")]
        return (*of_suite, *of_case, self.suite.document)


def _usual(own: str, suite: str, marks: Mapping[str, str]) -> str:
    """Return what a case is called for short; a pytest test whose file is known by its node id."""
    owner, node = _owner(marks)
    before = node or (owner if owner != suite else "")
    return f"{before}::{own}" if before else own


def _owner(marks: Mapping[str, str]) -> tuple[str, str]:
    """Return a case's class, and the node id of that; "" unless it is pytest's and its file is known."""
    owner, file = marks.get("classname", "") or marks.get("class", ""), marks.get("file", "")
    module = file.removesuffix(".py").replace("/", ".")
    if not (file.endswith(".py") and f"{owner}.".startswith(f"{module}.")):
        return owner, ""
    return owner, "::".join([file, *filter(None, owner.removeprefix(module).split("."))])
