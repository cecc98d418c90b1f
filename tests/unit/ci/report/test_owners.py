"""CODEOWNERS as GitHub reads it: its documentation's own examples, and lines that it skips."""

from datetime import UTC, datetime

import pytest

from kvsync.ci.report.owners import CodeOwners, owners_of
from kvsync.testing.results.outcome import Check, CheckKind, merge

# https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
DOCUMENTED = """\
# This is a comment.
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/* docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat
/apps/ @octocat
/apps/github
"""


@pytest.mark.parametrize(
    ("file", "owners"),
    [
        ("README", "@global-owner1 @global-owner2"),
        ("deep/in/a.js", "@js-owner"),
        ("a.go", "docs@example.com"),
        ("a.txt", "@octo-org/octocats"),
        ("build/logs/a.md", "@octocat"),
        ("build/a.md", "@global-owner1 @global-owner2"),
        ("docs/a.md", "@doctocat"),
        ("x/docs/a.md", "@global-owner1 @global-owner2"),
        ("scripts/a.js", "@doctocat @octocat"),
        ("x/apps/a.js", "@octocat"),
        ("deeply/nested/logs/a", "@octocat"),
        ("apps/a.js", "@octocat"),
        ("apps/github", ""),
        ("apps/github/a.js", ""),
        ("apps/githubs", "@octocat"),
    ],
)
def test_the_documented_examples(file: str, owners: str) -> None:
    """The last pattern that fits decides, also when it has no owners."""
    assert " ".join(CodeOwners.parse(DOCUMENTED).of(file)) == owners


@pytest.mark.parametrize(
    ("line", "file", "is_owned"),
    [
        ("docs/* @a", "docs/x.md", True),
        ("docs/* @a", "docs/deep/x.md", False),
        ("/* @a", "x.md", True),
        ("/* @a", "docs/x.md", False),
        ("tests/**/unit/* @a", "tests/x/unit/t.py", True),
        ("tests/**/unit/* @a", "tests/x/unit/y/t.py", False),
        ("tests/** @a", "tests/x/y.py", True),
        ("*.PY @a", "x.py", False),
        ("a\\ b/ @a", "a b/x.py", True),
        ("  x.py\t@a", "x.py", True),
    ],
)
def test_patterns(line: str, file: str, is_owned: bool) -> None:
    """They are those of .gitignore, except that a star at the end stays in its folder."""
    assert CodeOwners.parse(line).of(file) == (("@a",) if is_owned else ())


@pytest.mark.parametrize(
    "line",
    ["", "   ", "# x @b", "!x.py @b", "\\#x.py @b", "[x].py @b", "*.py b", "*.py @b, @c", "/ @b", "\x00 @b"],
    ids=ascii,
)
def test_a_line_that_github_skips(line: str) -> None:
    """It neither gives nor takes, so the line before decides."""
    assert CodeOwners.parse(f"* @a\n{line}\n").of("x.py") == ("@a",)


@pytest.mark.parametrize(
    ("name", "kind", "owners"),
    [
        ("tests/unit/t.py::test_a[x]", "failed", "@a @b"),
        ("tests/unit/t.py::test_a", "quarantined", "@a @b"),
        ("tests/unit/t.py::test_a", "passed", ""),
        ("tests/unit/t.py::test_a", "skipped", ""),
        ("other/t.py::test_a", "failed", ""),
        ("tests/unit", "failed", ""),
    ],
)
def test_beside_failures(name: str, kind: CheckKind, owners: str) -> None:
    """A test that did not pass names its owners; what is no test in a file has none."""
    check = Check(name=name, kind=kind, properties={"seed": "1"})
    result = merge("unit", [check], started_at=datetime(2026, 11, 20, tzinfo=UTC))
    (after,) = CodeOwners.parse("/tests/ @a @b").beside_failures(result).checks

    assert owners_of(after) == owners
    assert after.properties["seed"] == "1"
