"""Who owns the tests that did not pass: the CODEOWNERS file of a repository, read as GitHub reads it. Pure.

- Of the lines whose pattern fits, the last decides; one without owners takes them away.
- Patterns are those of .gitignore files, with the differences that GitHub documents: `docs/*` stands for
  files of that folder only, and a line with `!`, `[` or an escaped `#` is skipped, as is any that is invalid.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from kvsync.ci.report.problems import is_bad
from kvsync.testing.results.outcome import Check, Checks, StageResult

PLACES = (Path(".github/CODEOWNERS"), Path("CODEOWNERS"), Path("docs/CODEOWNERS"))
"""Where GitHub looks; the first that is there counts."""

LARGEST = 3 * 1024**2
"""Bytes; GitHub does not load a larger file."""

OWNERS = "owners"
"""The property of a check that names its owners, with spaces between them."""

_LINE = re.compile(r"\s*(?P<pattern>(?:\\.|[^\s\\])+)(?P<owners>(?:\s+[^\s#]\S*)*)\s*(?:#.*)?")
_OWNER = re.compile(r"@[\w-]+(/[\w.-]+)?|[^@\s]+@[^@\s]+")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: files that match, and to whom they belong."""

    regex: re.Pattern[str]
    owners: tuple[str, ...]
    is_flat: bool
    """Whether only files of the folder itself are meant."""

    def covers(self, file: str) -> bool:
        """Say whether a file, by its path from the top of the repository, is meant."""
        found = self.regex.match(file)
        if not found:
            return False
        return not self.is_flat or found.end() == len(file)


@dataclass(frozen=True, slots=True)
class CodeOwners:
    """The rules of a file, in its order."""

    rules: Sequence[Rule] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a file; lines that GitHub does not understand are left out."""
        return cls(tuple(rule for line in text.splitlines() if (rule := _rule(line))))

    def of(self, file: str) -> tuple[str, ...]:
        """Return the owners of a file, by its path from the top of the repository."""
        return next((rule.owners for rule in reversed(self.rules) if rule.covers(file)), ())

    def beside_failures(self, result: StageResult) -> StageResult:
        """Return a result whose checks name their owners, where they did not pass."""
        if not self.rules or not result.has(is_bad):
            return result
        return replace(result, checks=Checks(map(self._owned, result.checks)))

    def _owned(self, check: Check) -> Check:
        file, is_test, _ = check.name.partition("::")
        if not is_bad(check) or not is_test:
            return check
        owners = self.of(file)
        return replace(check, properties={**check.properties, OWNERS: " ".join(owners)}) if owners else check


def owners_of(check: Check) -> str:
    """Return the owners of a check, with spaces between them; "" for none."""
    return check.properties.get(OWNERS, "")


def _rule(line: str) -> Rule | None:
    found = _LINE.fullmatch(line)
    if not found:
        return None
    pattern, owners = found["pattern"], tuple(found["owners"].split())
    if pattern.startswith(("#", "!", "\\#")) or "[" in pattern or not all(map(_OWNER.fullmatch, owners)):
        return None
    try:
        regex, _ = GitIgnoreSpecPattern.pattern_to_regex(pattern)
    except GitIgnorePatternError:
        return None
    return Rule(re.compile(str(regex)), owners, is_flat=pattern.endswith("/*")) if regex else None
