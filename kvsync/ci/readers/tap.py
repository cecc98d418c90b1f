"""The Test Anything Protocol, versions 12 to 14, as checks; also as `node --test` writes it. Pure.

- A test within others is `outer > inner`. The line that sums up a subtest is a check only if it failed
  although nothing within it did.
- A plan that is missing or not met is a doubt, and `Bail out!` is an error.
- `not ok ... # TODO` is an expected failure, `# SKIP` is skipped whatever stands before it.
- A block of YAML is text: the message in it comes first, and nothing of it is interpreted.

By hand: tap.py (PyPI) knows neither subtests nor escapes nor TAP 14, which `node --test` and node-tap write.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from textwrap import dedent

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.outcome import Check, CheckKind, Outcome

DEEPEST = 50
"""Subtests within subtests; what is deeper is read as text."""

INDENT = 4

_VERSION = re.compile(r"TAP version (\d+)\s*$")
_PLAN = re.compile(r"1\.\.(\d{1,9})\s*(?:#\s*(?:skip\S*\s*)?(.*))?$", re.IGNORECASE)
_POINT = re.compile(r"(not )?ok(?=\s|$)(?:\s+(\d{1,9})(?=\s|$))?(?:\s+-(?=\s|$))?\s*(.*)$")
_BAIL = re.compile(r"Bail out!\s*(.*)$")
_DIRECTIVE = re.compile(r"(?<!\\)((?:\\\\)*)(?:^|\s)#\s*(skip\S*|todo)\b:?\s*(.*)$", re.IGNORECASE)
_TIME = re.compile(r"\s+#\s*time=([\d.]{1,20})(ms|s)\s*$")
_DURATION = re.compile(r"^duration_ms: ['\"]?([\d.]{1,30})", re.MULTILINE)
_MESSAGE = re.compile(r"^(?:error|message): (?:[|>][+-]?\n((?:[ \t]+.*\n?|\n)+)|(.*))", re.MULTILINE)
_OPEN, _CLOSE = re.compile(r"---\s*$"), re.compile(r"\.\.\.\s*$")


@dataclass(slots=True)
class _Level:
    """The tests of one indentation, of one document or subtest."""

    points: list["_Point"] = field(default_factory=list)
    plans: list[tuple[int, str]] = field(default_factory=list)
    name: str = ""

    @property
    def doubt(self) -> str:
        """Why tests may be missing."""
        if not self.plans:
            return "it has no plan, so tests may be missing"
        if len(self.plans) > 1:
            return "it has two plans"
        planned, numbers = self.plans[0][0], [point.number for point in self.points if point.number]
        if len(self.points) != planned:
            return f"{planned} tests are planned, {len(self.points)} are there"
        if len(set(numbers)) != len(numbers) or any(number > planned for number in numbers):
            return "its tests are not numbered as planned"
        return ""


@dataclass(slots=True)
class _Point:
    """One line `ok` or `not ok`, with what belongs to it."""

    ok: bool
    number: int
    name: str
    directive: str = ""
    reason: str = ""
    duration_s: float = 0.0
    yaml: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    within: _Level | None = None


class _Stream:
    """A stream of TAP, line by line. `open`: the tests of each indentation that have no end yet."""

    def __init__(self) -> None:
        self.documents: list[_Level] = []
        self.unended: list[_Level] = []
        self.doubts: list[str] = []
        self.bailed: str | None = None
        self._open: list[_Level] = [_Level()]
        self._yaml: tuple[_Point, int] | None = None
        self._subtests: dict[int, str] = {}

    def take(self, line: str) -> None:
        """Take a line in."""
        if self._yaml and self._take_yaml(line):
            return
        bare = line.lstrip(" ")
        spaces = len(line) - len(bare)
        depth = spaces // INDENT
        last = self._last(depth)
        if last and _OPEN.match(bare) and spaces > INDENT * depth:
            self._yaml = (last, spaces)
        elif spaces % INDENT == 0 and depth <= DEEPEST:
            self._take_at(depth, bare)

    def finish(self) -> None:
        """End a document: a subtest that is still open within it lacks its end."""
        top, *within = self._open
        self.unended += within
        if top.points or top.plans:
            self.documents.append(top)
            self.doubts += filter(None, [top.doubt])
        self._open = [_Level()]

    def _take_at(self, depth: int, bare: str) -> None:
        if depth == 0 and _VERSION.match(bare):
            self.finish()
        elif found := _BAIL.match(bare):
            self.bailed = found[1] or "no reason is given"
        elif found := _PLAN.match(bare):
            self._level(depth).plans.append((int(found[1]), found[2] or ""))
        elif found := _POINT.match(bare):
            self._take_point(depth, found)
        elif bare.startswith("# Subtest"):
            self._subtests[depth] = bare.partition(":")[2].strip()
        elif bare.startswith("#") and (last := self._last(depth)):
            last.comments.append(bare)

    def _take_point(self, depth: int, found: re.Match[str]) -> None:
        point, level = _point(found), self._level(depth)
        level.points.append(point)
        within = self._open[depth + 1 :]
        if within:
            point.within = within[0]
            self.doubts += [f"{point.name}: {within[0].doubt}"] if within[0].doubt else []
            self.unended += within[1:]
            del self._open[depth + 1 :]

    def _take_yaml(self, line: str) -> bool:
        """Take a line of a block in; False for one that is outside: the block was not closed."""
        point, spaces = self._yaml  # type: ignore[misc]  # asked only while there is one
        if line.strip() and not line.startswith(" " * spaces):
            self._yaml = None
            return False
        if _CLOSE.match(line[spaces:]):
            self._yaml = None
        else:
            point.yaml.append(line[spaces:])
        return True

    def _level(self, depth: int) -> _Level:
        while len(self._open) <= depth:
            self._open.append(_Level(name=self._subtests.get(len(self._open) - 1, "")))
        return self._open[depth]

    def _last(self, depth: int) -> _Point | None:
        points = self._open[depth].points if depth < len(self._open) else []
        return points[-1] if points else None


def read_tap(text: str) -> ResultFile:
    """Return what a stream of TAP says; raises Damaged if it holds neither a test nor a plan."""
    stream = _Stream()
    for line in text.splitlines():
        stream.take(line)
    stream.finish()
    if not stream.documents and not stream.unended and stream.bailed is None:
        raise Damaged("it holds no test and no plan of TAP")
    checks = [check for level in stream.documents for check in _checks(level, (), is_todo=False)]
    for level in stream.unended:
        name = level.name or "(a subtest without a name)"
        stream.doubts.append(f"the subtest {name} has no end")
        checks += _checks(level, (name,), is_todo=False)
    if stream.bailed is not None:
        checks.append(Check(name="Bail out!", kind="error", detail=stream.bailed))
        stream.doubts.clear()
    return ResultFile(
        checks=checks, doubts=stream.doubts[:5], duration_s=sum(each.duration_s for each in checks)
    )


def _checks(level: _Level, above: tuple[str, ...], *, is_todo: bool) -> Iterator[Check]:
    for planned, reason in level.plans[:1]:
        if planned == 0 and not level.points:
            yield Check(name=" > ".join([*above, "(no test)"]), kind="skipped", detail=reason)
    for place, point in enumerate(level.points, start=1):
        path = (*above, point.name or f"(test {place})")
        todo = is_todo or point.directive == "todo"
        within = list(_checks(point.within, path, is_todo=todo)) if point.within else []
        yield from within
        explained = point.ok or any(
            check.outcome is Outcome.FAILED or check.kind == "xfailed" for check in within
        )
        if not within or not explained:
            yield _check(point, " > ".join(path), is_todo=todo)


def _check(point: _Point, name: str, *, is_todo: bool) -> Check:
    kind: CheckKind = "passed" if point.ok else "failed"
    if point.directive == "skip":
        kind = "skipped"
    elif is_todo and not point.ok:
        kind = "xfailed"
    detail = "" if kind == "passed" else "\n".join(filter(None, [point.reason, _said(point)]))
    return Check(name=name, kind=kind, detail=detail, duration_s=point.duration_s or _duration_s(point))


def _said(point: _Point) -> str:
    """Return what a test reported, its message first."""
    block = "\n".join(point.yaml)
    found = _MESSAGE.search(f"{block}\n") if block else None
    message = dedent(found[1] or found[2] or "").strip().strip("'\"") if found else ""
    return "\n".join(filter(None, [message, block, *point.comments]))


def _duration_s(point: _Point) -> float:
    found = _DURATION.search("\n".join(point.yaml))
    return _number(found[1]) / 1000 if found else 0.0


def _point(found: re.Match[str]) -> _Point:
    text, duration_s = found[3], 0.0
    if timed := _TIME.search(text):
        text, duration_s = text[: timed.start()], _number(timed[1]) / (1000 if timed[2] == "ms" else 1)
    directive = reason = ""
    if said := _DIRECTIVE.search(text):
        text, directive, reason = text[: said.start()] + said[1], said[2].lower()[:4], said[3]
    name = re.sub(r"\\([\\#])", r"\1", text).strip()
    return _Point(not found[1], int(found[2] or 0), name, directive, reason.strip(), duration_s)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
