"""Files of any format: each told by what is in it, and none taken for green that is not whole."""

import json
from pathlib import Path

import pytest

from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.files import Found, read_files
from kvsync.ci.readers.formats import FORMATS, READERS, ROOTED, Unrecognized, format_of
from kvsync.errors import ConfigError, UnknownName
from kvsync.testing.results.outcome import Outcome
from tests.unit.ci.readers.recordings import FOLDER, recorded

RECORDED = {
    "go-test.json": "go-test",
    "go-test-bench.json": "go-test",
    "node.tap": "tap",
    "go-bench.txt": "go-bench",
    "go-cover.out": "go-cover",
    "node.lcov": "lcov",
    "coverage-py.lcov": "lcov",
    "coverage-py.json": "coverage.py",
    "cobertura.xml": "cobertura",
    "pytest-benchmark.json": "pytest-benchmark",
    "hyperfine-2.json": "hyperfine",
    "pip-audit.json": "pip-audit",
    "npm-audit.json": "npm-audit",
    "npm-audit-unreachable.json": "npm-audit",
    "ruff.sarif": "sarif",
    "bandit.sarif": "sarif",
}

GREEN = ("go-test-bench.json", "pytest-benchmark.json", "hyperfine-2.json", "ruff-clean.sarif")
"""Recordings in which nothing failed."""


def read(folder: Path, *texts: str | bytes, format_name: str = "") -> Found:
    """Return what files with these contents say."""
    paths = [folder / f"{number}.out" for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_files(paths, name="theirs", format_name=format_name)


@pytest.mark.parametrize(("name", "expected"), RECORDED.items())
def test_a_format_is_told_by_what_is_in_it(name: str, expected: str) -> None:
    """Whatever the file is called."""
    assert format_of(recorded(name)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<?xml version="1.0"?>\n<!-- x --><testsuites/>', "junit"),
        ("<testsuite name='a'/>", "junit"),
        ('{"config": {"scanner_name": "govulncheck"}}\n{"progress": {}}', "govulncheck"),
        ('{"vulnerabilities": {}, "lockfile": {}}', "cargo-audit"),
        ('[{"name": "a", "version": "1", "vulns": []}]', "pip-audit"),
        ('{"results": [{"command": "a", "mean": 1}]}', "hyperfine"),
        ('go: downloading x\n{"Time":"2026-01-01T00:00:00Z","Action":"start","Package":"p"}\n', "go-test"),
        ("make: Entering\nTAP version 13\n", "tap"),
    ],
)
def test_others_are_told_too(text: str, expected: str) -> None:
    """Comments, and lines that tools print before."""
    assert format_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "begins with 'hello'"),
        ("{}", "no format"),
        ("[]", "no format"),
        ("<html><body>", "no format"),
        ('{"runs": [', "damaged JSON"),
        ("[" * 100_000, "damaged JSON"),
        ('[{"name": "a", "unit": "s", "value": 1}]', "customBiggerIsBetter or customSmallerIsBetter"),
    ],
)
def test_an_unknown_format_is_an_error_with_its_mend(tmp_path: Path, text: str, expected: str) -> None:
    """It names the file, what it begins with, and what could be read."""
    with pytest.raises(Unrecognized, match=expected):
        format_of(text)
    with pytest.raises(ConfigError, match=r"0\.out"):
        read(tmp_path, text)


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    """A missing file, and one of a foreign format."""
    (tmp_path / "a").write_text("hello")

    with pytest.raises(ConfigError) as caught:
        read_files([tmp_path / "a", tmp_path / "b"], name="theirs")

    assert len(caught.value.problems) == 2
    assert "was it written" in caught.value.problems[1]


def test_a_name_that_is_no_format_is_an_error(tmp_path: Path) -> None:
    """It lists those that are."""
    with pytest.raises(UnknownName, match="customBiggerIsBetter"):
        read(tmp_path, "1..0", format_name="tap14")


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_green_that_holds_nothing(tmp_path: Path, name: str) -> None:
    """An empty file, another format and nests, read as each format that there is."""
    for text in ("", "  \n", "\0\0", "hello\n", "[]", "{}", "[" * 10_000, '{"a":' * 10_000):
        assert read(tmp_path, text, format_name=name).result.outcome is Outcome.UNKNOWN, text[:20]


@pytest.mark.parametrize("name", [*READERS, *ROOTED])
def test_a_foreign_file_is_never_green(name: str) -> None:
    """Each recording of another format is damaged, or in doubt, or holds nothing that passed."""
    for path in FOLDER.iterdir():
        text = path.read_text()
        if path.suffix == ".md" or format_of(text) == name:
            continue
        try:
            reading = ROOTED[name](text, "") if name in ROOTED else READERS[name](text)
        except Damaged:
            continue
        passed = [check for check in reading.checks if check.outcome is Outcome.PASSED]
        assert reading.doubts or not passed, path.name


@pytest.mark.parametrize("name", GREEN)
def test_no_cut_of_a_green_file_is_green(tmp_path: Path, name: str) -> None:
    """Wherever a file of passes ends early, what is missing is missed."""
    text = recorded(name)
    known = format_of(text)

    assert read(tmp_path, text).result.outcome is Outcome.PASSED
    for end in range(0, len(text.rstrip()) - 1, max(1, len(text) // 50)):
        assert read(tmp_path, text[:end], format_name=known).result.outcome is Outcome.UNKNOWN, end


def test_a_document_of_too_many_values_is_refused(tmp_path: Path) -> None:
    """A few megabytes of brackets would take gigabytes."""
    bomb = f'{{"runs": [{"[]," * 6_000_000}[]], "version": "2.1.0"}}'

    assert "more than 5,000,000 values" in read(tmp_path, bomb, format_name="sarif").result.reason


def test_an_entity_bomb_is_refused(tmp_path: Path) -> None:
    """A document type that declares something is not read."""
    bomb = '<!DOCTYPE coverage [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><coverage>&b;</coverage>'

    assert "document type" in read(tmp_path, bomb).result.reason


def test_several_files_are_one_result(tmp_path: Path) -> None:
    """Of any formats; tests of one name are told apart by their file."""
    tap = "1..1\nok 1 - same\n"
    junit = '<testsuite name="s" tests="1"><testcase name="own"/></testsuite>'
    found = read(tmp_path, tap, tap, junit, recorded("hyperfine-2.json"))

    assert found.formats == ["tap", "tap", "junit", "hyperfine"]
    assert [check.name for check in found.result.checks] == [
        "own",
        "0.out same",
        "1.out same",
        "true (measured)",
        "sleep 0.01 (measured)",
    ]
    assert found.result.outcome is Outcome.PASSED


def test_windows_redirection_is_read(tmp_path: Path) -> None:
    """PowerShell writes UTF-16 with a mark in front."""
    assert read(tmp_path, "1..1\r\nok 1 - a\r\n".encode("utf-16")).result.outcome is Outcome.PASSED


def test_profiles_are_merged(tmp_path: Path) -> None:
    """What one run missed, another may have covered; without a minimum that proves nothing."""
    other = json.loads(recorded("coverage-py.json"))
    cart = other["files"]["src/shop/cart.py"]
    cart["executed_lines"], cart["missing_lines"] = [15], [4, 6, 7, 8, 9, 10, 11, 14]
    cart["executed_branches"], cart["missing_branches"] = [[7, 8]], [[7, 9], [9, 10], [9, 11]]
    found = read(tmp_path, recorded("coverage-py.json"), json.dumps(other))

    assert found.coverage is not None
    assert found.coverage.files["src/shop/cart.py"].missed == [8, 10]
    assert {each.metric: round(each.value, 2) for each in found.measurements} == {
        "lines": 70.0,
        "branches": 75.0,
        "both": 71.43,
    }
    assert found.result.outcome is Outcome.UNKNOWN
