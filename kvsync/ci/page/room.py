"""What of a run's tests has room on its page, which stays small whatever they say; report.json has all. Pure.

- What did not pass is whole, as long as there is room; after that its texts are cut in their middle, and then
  its tests are only counted.
- What passed or was left out is a table, packed: a script of the page shows it when it is asked for.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import islice

from kvsync.ci.page.wording import duration
from kvsync.ci.report.problems import Problem
from kvsync.testing.results.outcome import Attempt, Check, Outcome, StageResult
from kvsync.testing.results.texts import shortened

PROBLEM_BYTES = 1_500_000, 500_000
"""Room for what did not pass: for whole texts, and then for those that are cut."""
LOUD_BYTES = 400_000, 400_000
"""Room for the same tests in the list of all, where the texts of flaky ones are, too."""
MOST_PROBLEMS = 500
CUT = 1_000
"""Characters of a text that is cut."""
MARKUP = 300
"""Bytes around the texts of a test."""
PACKED_BYTES = 1_200_000
"""Room for the tables of all stages."""
TRIES = ((10**9, 300, 2000), (10**9, 300, 0), (10**9, 80, 0), (10_000, 80, 0))
"""How many tests such a table has, and characters of their names and of what they printed, until it fits."""

QUIET = frozenset({"passed", "skipped", "measured", "xfailed"})


@dataclass(frozen=True, slots=True)
class ShownProblem:
    """A problem with those of its checks that have room; `more` are only counted."""

    problem: Problem
    checks: Sequence[tuple[str, Check]]

    @property
    def more(self) -> int:
        """How many checks are left out."""
        return len(self.problem.checks) - len(self.checks)


@dataclass(frozen=True, slots=True)
class ShownTests:
    """The tests of a stage: `loud` ones, of which there are `all_loud`, and `quiet` of `all_quiet` others.

    `packed` has these: a row [kind, name, time, text] for each, as JSON, deflated, in base64.
    """

    loud: Sequence[Check]
    all_loud: int
    packed: str
    quiet: int
    all_quiet: int


class Room:
    """Hands out room for texts: whole ones first, then cut ones, then none."""

    def __init__(self, whole: int, cut: int) -> None:
        self._whole, self._cut = whole, cut

    def fit(self, check: Check) -> Check | None:
        """Return a check with as much of its texts as has room; None if not even its name has."""
        if (size := _size(check)) <= self._whole:
            self._whole -= size
            return check
        short = _cut(check)
        if (size := _size(short)) > self._cut:
            return None
        self._cut -= size
        return short


def shown_problems(found: Iterable[Problem]) -> list[ShownProblem]:
    """Return the first problems, each with at least its headline, and their tests as they have room."""
    room = Room(*PROBLEM_BYTES)
    return [
        ShownProblem(problem, [(stage, fit) for stage, check in problem.checks if (fit := room.fit(check))])
        for problem in islice(found, MOST_PROBLEMS)
    ]


def shown_tests(stages: Sequence[StageResult]) -> list[ShownTests]:
    """Return the tests of each stage as they have room."""
    room, most = Room(*LOUD_BYTES), PACKED_BYTES // max(1, len(stages))
    return [_shown(stage, room, most) for stage in stages]


def _shown(stage: StageResult, room: Room, most: int) -> ShownTests:
    for number, name_characters, tail_characters in TRIES:
        packed = _packed(islice(stage.where(_is_quiet), number), name_characters, tail_characters)
        if len(packed) <= most:
            break
    loud = list(stage.where(lambda check: not _is_quiet(check)))
    fits = [fit for check in loud if (fit := room.fit(_beside_problems(check)))]
    quiet = len(stage.checks) - len(loud)
    return ShownTests(fits, len(loud), packed, min(number, quiet), quiet)


def _is_quiet(check: Check) -> bool:
    return check.kind in QUIET and not check.attempts


def _packed(checks: Iterable[Check], name_characters: int, tail_characters: int) -> str:
    """Return a row for each check; made row by row, since all of them together are many times as large."""
    packer = zlib.compressobj()
    packed: list[bytes] = []
    before = "["
    for check in checks:
        text = shortened(check.detail, tail_characters) + check.log_tail[-tail_characters:]
        row = (
            check.kind,
            shortened(check.name, name_characters),
            duration(check.duration_s),
            text if tail_characters else "",
        )
        packed.append(packer.compress(f"{before}{json.dumps(row)}".encode()))
        before = ", "
    end = "[]" if before == "[" else "]"
    return base64.b64encode(b"".join([*packed, packer.compress(end.encode()), packer.flush()])).decode()


def _beside_problems(check: Check) -> Check:
    """Return a check without the texts that are shown with the problems of the run."""
    if check.outcome is Outcome.PASSED:
        return check
    attempts = tuple(Attempt(kind=each.kind) for each in check.attempts)
    return replace(check, detail="", log_tail="", properties={}, attempts=attempts)


def _cut(check: Check) -> Check:
    attempts = tuple(replace(each, detail=shortened(each.detail, CUT)) for each in check.attempts[-2:])
    properties = {name: shortened(text, CUT) for name, text in check.properties.items() if name == "evidence"}
    return replace(
        check,
        name=shortened(check.name, CUT),
        detail=shortened(check.detail, CUT),
        log_tail=shortened(check.log_tail, CUT),
        properties=properties,
        attempts=attempts,
    )


def _size(check: Check) -> int:
    """Return about how many bytes a check takes on the page."""
    texts = [check.name, check.name, check.detail, check.log_tail, *(each.detail for each in check.attempts)]
    return MARKUP + sum(len(escape(text).encode(errors="replace")) for text in texts)
