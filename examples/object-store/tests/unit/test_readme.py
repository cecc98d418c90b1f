"""What the README says is tested is tested."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

README = (TOP / "README.md").read_text()

TABLE = README.partition("## What is tested, line by line")[2]

NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)))

PLANNED = 35
"""10 end to end, 10 of gRPC, 5 concurrent, and twice 5 of the second phase."""


def names_in(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse(path.read_text())
    return {
        each.name for each in tree.body if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    }


def test_the_table_is_read() -> None:
    """Every test that is planned has a line."""
    kinds = r"\| (E2E|gRPC|Concurrent|Interrupted uploads|Storage management) \d+: .*\| `tests/"

    assert len(re.findall(kinds, TABLE)) == PLANNED


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_of_the_table_exists(file: str, test: str) -> None:
    """A test that is renamed or removed is missed here."""
    assert test in names_in(TOP / file)


def test_every_test_of_a_suite_has_a_line_or_goes_beyond() -> None:
    """What the suites have besides the table is known."""
    found = {
        (str(path.relative_to(TOP)), test)
        for folder in ("e2e", "grpc", "concurrency")
        for path in (TOP / "tests" / folder).glob("test_*.py")
        for test in names_in(path)
    }

    assert {test for _, test in found - set(NAMED)} == {
        "test_upload_checksum_mismatch",
        "test_upload_empty_file",
        "test_put_chunk_without_header",
        "test_server_addition_refused",
        "test_damaged_chunk",
        "test_deletion_without_a_server",
        "test_small_removal_beside_a_large_one",
    }


@pytest.mark.parametrize("stage", sorted(set(re.findall(r"stage `(\w+)`", README))))
def test_every_stage_exists(stage: str) -> None:
    """What the README calls a stage is one."""
    assert stage in tomllib.loads((TOP / "stages.toml").read_text())["stages"]


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:tests|scripts|load|chaos)/[\w/]+\.py)`", README)))
)
def test_every_file_exists(path: str) -> None:
    """What the README points to is there."""
    assert (TOP / path).is_file()


@pytest.mark.parametrize("marker", ["slow", "large_file", "concurrent"])
def test_every_marker_is_used(marker: str) -> None:
    """Each selects tests."""
    suites = "".join(path.read_text() for path in (TOP / "tests").glob("*/test_*.py"))

    assert f"pytest.mark.{marker}" in suites
